"""Settings and results in sentences."""

from __future__ import annotations

from reparam_core.data import ENTRIES as TEXTS
from reparam_core.data import TABLES
from reparam_core.jobs import Point
from reparam_core.recipes import Recipe

PLACES = {
    "Q/K/V": "*attention.{q,k,v}",
    "Attention": "*{attention,cross}.*",
    "MLP": "*mlp.*",
    "Blocks": None,
    "Embedding": "{embedding,head}",
    "Everything": "*",
}
PLACE_WORDS = {
    "Q/K/V": "attention Q/K/V",
    "Attention": "attention",
    "MLP": "the MLP",
    "Blocks": "all blocks",
    "Embedding": "embedding and head",
    "Everything": "every matrix",
}
SOURCE_WORDS = {"addresses": "the addresses", "moby-dick": "the novel", "reviews": "the reviews"}


def place_name(where: str | None) -> str | None:
    """The menu's name of a glob, or None."""
    return next((name for name, glob in PLACES.items() if glob == where), None)


def source_words(source: str) -> str:
    """`the novel`."""
    return SOURCE_WORDS.get(source, source)


def source_title(source: str) -> str:
    """As a menu shows it."""
    known = TEXTS.get(source) or TABLES.get(source)
    return known.title if known else source.rpartition("/")[2]


def recipe_words(recipe: str) -> str:
    """`with attention Q/K/V at 50 % of full rank (svd) and all blocks at 4 bits in groups of 64 (rtn)`."""
    told = []
    for rule in Recipe.parse(recipe).rules:
        place = place_name(rule.where)
        where = PLACE_WORDS[place] if place else str(rule.where)
        told += [f"{where} at {step.setting.told()} ({step.method.name})" for step in rule.steps.values() if step]
    return "with " + " and ".join(told) if told else "untouched"


def sentence(name: str, points: list[Point]) -> str:
    """What the settings do, in one sentence."""
    first = points[0]
    told = [f"{name} {recipe_words(first.recipe)} takes {first.size_ratio:.2f}× the bytes"]
    told += [quality_words(point) for point in points]
    return "; ".join(told) + "."


def quality_words(point: Point) -> str:
    """`perplexity on the novel 46.3 → 52.1`, or the accuracy of a table; estimates and no differences are called so."""
    where = source_words(point.source)
    name, told = ("accuracy", "{:.1%}".format) if point.labelled else ("perplexity", number)
    before, after = ((point.base_accuracy, point.accuracy) if point.labelled
                     else (point.base_perplexity, point.perplexity))  # fmt: skip
    change = (
        f"{name} on {where} {told(after)}" if untouched(point) else f"{name} on {where} {told(before)} → {told(after)}"
    )
    if not point.final:
        return f"{change} (estimate)"
    return change if point.significant or untouched(point) else f"{change}, no significant difference"


def untouched(point: Point) -> bool:
    """Is it the base itself?"""
    return point.short == "base"


def number(value: float) -> str:
    """Three or four digits, `9.3·10⁶` above."""
    if value >= 1e5:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits}·10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.4g}"
