"""Settings and results in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pages.components.places import place_of
from reparam_core.data import ENTRIES as TEXTS
from reparam_core.data import TABLES
from reparam_core.figures.theme import powered
from reparam_core.jobs import Point
from reparam_core.recipes import Recipe

SOURCE_WORDS = {
    "addresses": "the addresses",
    "moby-dick": "the novel",
    "reviews": "the reviews",
    "movie-reviews": "film reviews",
    "last-words": "last words",
    "state-capitals": "state capitals",
    "dates": "written dates",
}


def source_words(source: str) -> str:
    """`the novel`."""
    return SOURCE_WORDS.get(source, source.rpartition("/")[2])


def source_title(source: str) -> str:
    """As a menu shows it."""
    known = TEXTS.get(source) or TABLES.get(source)
    return known.title if known else source.rpartition("/")[2]


def recipe_words(recipe: str) -> str:
    """`with attention Q/K/V at 50 % of full rank (svd) and all blocks at 4 bits in groups of 64 (rtn)`."""
    told = []
    for rule in Recipe.parse(recipe).rules:
        place = place_of(rule.where)
        where = place.words if place else str(rule.where)
        told += [f"{where} at {step.setting.told()} ({step.method.name})" for step in rule.steps.values() if step]
    return "with " + " and ".join(told) if told else "untouched"


def sentence(name: str, points: list[Point], latency: Mapping[str, Any] | None = None) -> str:
    """What the settings do, in one sentence."""
    first = points[0]
    told = [f"{name} {recipe_words(first.recipe)} takes {first.size_ratio:.2f}× the bytes"]
    told += [quality_words(point) for point in points]
    told += [] if latency is None or untouched(first) else [speed_words(latency)]
    return "; ".join(told) + "."


def quality_words(point: Point) -> str:
    """`perplexity on the novel 46.3 → 52.1 (+4.9 to +6.8)`; estimates and no differences are called so."""
    name, told = ("accuracy", "{:.1%}".format) if point.labelled else ("perplexity", number)
    before, after = ((point.base_accuracy, point.accuracy) if point.labelled
                     else (point.base_perplexity, point.perplexity))  # fmt: skip
    said = f"{name} on {source_words(point.source)} "
    if untouched(point):
        return said + told(after)
    if point.final and not point.significant:
        return f"{said}{told(after)}, no significant difference"
    change = f"{told(before)} → {told(after)}" if point.labelled else apart(before, after)
    return said + change + _interval_words(point)


def _interval_words(point: Point) -> str:
    """` (+4.9 to +6.8)`, in points of accuracy or in perplexity; an estimate says so."""
    interval = point.accuracy_interval if point.labelled else point.perplexity_interval
    if not point.final:
        return " (estimate)"
    if interval is None:
        return ""
    if point.labelled:
        return f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f} points)"
    return f" ({signed(interval[0])} to {signed(interval[1])})"


def speed_words(latency: Mapping[str, Any]) -> str:
    """`decodes 1.6× as fast`, or that it gains nothing here."""
    kind, verb = (("decode_ms_per_token", "decodes") if latency["setting"]["decode_ms_per_token"]
                  else ("prefill_ms", "reads"))  # fmt: skip
    ratio = latency["base"][kind]["p50"] / latency["setting"][kind]["p50"]
    return f"{verb} {ratio:.2g}× as fast" if gains(ratio) else f"{verb} no faster"


def gains(ratio: float) -> bool:
    """Is a ratio of times outside what these clocks repeat to?"""
    return not 0.9 < ratio < 1.1


def untouched(point: Point) -> bool:
    """Is it the base itself?"""
    return point.short == "base"


def number(value: float) -> str:
    """Three or four digits, `9.3·10⁶` above, `∞` without end."""
    if value >= 1e5:
        return powered(value, 1)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.4g}"


def signed(value: float) -> str:
    """Two digits with a sign, `+0.075`; from a hundred on whole numbers."""
    size = abs(value)
    return f"{'+' if value >= 0 else '−'}{number(size) if size >= 1e5 else f'{size:,.0f}' if size >= 100 else f'{size:.2g}'}"


def apart(before: float, after: float) -> str:
    """`36.46 → 36.50`: as many digits as tell the two from each other."""
    told = next((one for one in (number, "{:,.2f}".format, "{:,.3f}".format) if one(before) != one(after)), number)
    return f"{told(before)} → {told(after)}"
