"""Settings and results in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pages.components.baseline import Baseline
from pages.components.places import where_words
from reparam_core.data import ENTRIES as TEXTS
from reparam_core.data import TABLES, own_title
from reparam_core.figures.theme import powered
from reparam_core.jobs import Point
from reparam_core.methods.rewriting import Transform
from reparam_core.recipes import Calibration, Recipe, Step
from reparam_core.written import TITLE, WORDS, WRITTEN

HINT = "Move a slider: 4 bits cost little, 2 bits much"
USUAL = Calibration()
MEASURES = {"token": "next-token accuracy", "masked token": "masked-word accuracy", "sentence": "accuracy",
            "answer": "exact match", "choice": "right choices"}  # fmt: skip


def source_words(source: str) -> str:
    """`the novel`; one's own text by its first words, or by its file's name."""
    if own := own_title(source):
        return f"“{own}”"
    known = TEXTS.get(source) or TABLES.get(source)
    return known.words if known else WORDS if source == WRITTEN else source.rpartition("/")[2]


def source_titles(sources: Sequence[str]) -> dict[str, str]:
    """Each as a menu shows it; own texts that start alike are told apart by their file's name."""
    titles = {one: _source_title(one) for one in sources}
    often = Counter(titles.values())
    return {one: title if often[title] == 1 else f"{title} · {Path(one).name[4:8]}" for one, title in titles.items()}


def _source_title(source: str) -> str:
    """A table's own title is a question, which is too long here."""
    if source in TABLES:
        return TABLES[source].short
    known = TEXTS[source].title if source in TEXTS else TITLE if source == WRITTEN else None
    return own_title(source) or known or Path(source).name


def recipe_words(recipe: str) -> str:
    """`with attention Q/K/V at 50 % of full rank (svd) and all blocks at 4 bits in groups of 64 (gptq, sequential)`."""
    parsed = Recipe.parse(recipe)
    told = [f"{_rewrite_words(one, parsed.calibration)} first" for one in parsed.transform]
    for rule in parsed.rules:
        told += [f"{where_words(rule.where)} at {step.told()} ({_method_words(step, parsed.calibration)})"
                 if step else f"{where_words(rule.where)} with {axis} untouched" for axis, step in rule.steps.items()]  # fmt: skip
    if parsed.cache is not None:
        told.append(f"keys and values at {parsed.cache.bits} bits in groups of {parsed.cache.group}")
    return "with " + " and ".join(told) if told else "untouched"


def setting_words(recipe: str) -> str:
    """The recipe where it stands for itself: `all blocks at 4 bits (rtn)`, `the untouched model (the base)`."""
    told = recipe_words(recipe)
    return "the untouched model (the base)" if told == "untouched" else told.removeprefix("with ")


def _method_words(step: Step, calibration: Calibration) -> str:
    """`wanda, sequential, calibrated on training addresses`; what is usual needs no word."""
    how: list[str] = [] if step.statistics == "one-shot" else [step.statistics]
    how += [f"split by {step.split.name}"] if step.split else []
    return ", ".join([step.method.name, *how, *_read_words(step, calibration)])


def _rewrite_words(one: Transform, calibration: Calibration) -> str:
    """`smooth (calibrated on training addresses)`."""
    return one.short() + "".join(f" ({told})" for told in _read_words(one, calibration))


def _read_words(one: Step | Transform, calibration: Calibration) -> list[str]:
    """What is calibrated on, where anything is and it is not what is usual."""
    other = one.needs and (calibration.text, calibration.sentences) != (USUAL.text, USUAL.sentences)
    return [f"calibrated on {read_words(calibration)}"] if other else []


def read_words(calibration: Calibration) -> str:
    """`training addresses, 75 % sentences`."""
    mixed = f", {100 * calibration.sentences:g} % sentences" if calibration.sentences else ""
    return source_words(calibration.text) + mixed


def sentence(name: str, points: list[Point], latency: Mapping[str, Any] | None = None,
             baseline: Baseline | None = None) -> str:  # fmt: skip
    """What the settings do, in one sentence: beside the baseline, once that is known."""
    baseline, first = baseline or Baseline(), points[0]
    told = [one for point in points if (one := baseline.beside(point))]
    subject = f"{name} {recipe_words(first.recipe)}"
    if baseline.same(first):
        return f"{alone(subject, points)}. {'This is what is pinned' if baseline.pinned else HINT}."
    if len(told) < len(points):
        return f"{alone(subject, points)}; measuring {baseline.name} …"
    size = f"{subject} takes {told[0].size_ratio:.2f}× the bytes{f' of {baseline.name}' if baseline.pinned else ''}"
    speed = [] if latency is None or untouched(first) else [speed_words(latency, baseline.pinned)]
    return "; ".join([size, *(change_words(one) for one in told), *speed]) + "."


def alone(subject: str, points: list[Point]) -> str:
    """Size and quality beside nothing."""
    return "; ".join([f"{subject} is a file of {points[0].bytes / 1e6:.3g} MB", *map(level_words, points)])


def quality_words(point: Point) -> str:
    """What a setting's quality is, beside the base's; of the base itself only what it is."""
    return level_words(point) if untouched(point) else change_words(point)


def level_words(point: Point) -> str:
    """`perplexity on the novel 46.3`."""
    told = f"{point.accuracy:.1%}" if point.labelled else number(point.perplexity)
    return f"{_measure(point)} {told}{'' if point.final else ' (estimate)'}"


def _measure(point: Point) -> str:
    return f"{MEASURES[point.unit] if point.labelled else 'perplexity'} on {source_words(point.source)}"


def change_words(point: Point) -> str:
    """`perplexity on the novel 46.3 → 52.1 (+4.9 to +6.8)`; estimates and no differences are called so."""
    if point.final and not point.significant:
        return f"{level_words(point)}, no significant difference"
    before, after = (
        (point.base_accuracy, point.accuracy) if point.labelled else (point.base_perplexity, point.perplexity)
    )
    if point.final and before == after:
        return f"{level_words(point)}, no difference"
    told, least = (shares_apart, "0.1 points") if point.labelled else (apart, "0.001")
    change = told(before, after)
    if change is None:
        worse = (after < before) == point.labelled
        return level_words(point) + (f", {'worse' if worse else 'better'} by less than {least}" if point.final else "")
    return f"{_measure(point)} {change}{_interval_words(point)}"


def _interval_words(point: Point) -> str:
    """` (+4.9 to +6.8)`, in points of accuracy or in perplexity; an estimate says so."""
    interval = point.accuracy_interval if point.labelled else point.perplexity_interval
    if not point.final:
        return " (estimate)"
    if interval is None:
        return ""
    if point.labelled:
        return f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f} points)"
    return " ({} to {})".format(*alike(*interval)).replace("-", "−")


def speed_words(latency: Mapping[str, Any], named: bool = False) -> str:
    """`decodes 1.6× as fast (1.5 to 1.7)`, or that there is no difference; `named` says than what."""
    kind, verb = ("decode", "decodes") if latency["speed"]["decode"] else ("prefill", "reads")
    faster = faster_words(latency["speed"][kind], " as the base" if named else "")
    return f"{verb} {faster}" if faster else "no significant difference in speed"


def faster_words(speed: Mapping[str, Any], than: str = "") -> str | None:
    """`1.6× as fast (1.5 to 1.7)`; None where the interval holds 1, or the runs are too few for one."""
    interval = speed["ci95"]
    if interval is None or interval[0] <= 1 <= interval[1]:
        return None
    low, high = interval
    return f"{speed['ratio']:.2g}× as fast{than} ({low:.2g} to {high:.2g})"


def untouched(point: Point) -> bool:
    """Is it the base itself?"""
    return point.short == "base"


def number(value: float) -> str:
    """Three or four digits, `9.3·10⁶` above, `∞` without end."""
    if value >= 1e5:
        return powered(value, 1)
    if 1 <= value < 10:
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.4g}"


def signed(value: float) -> str:
    """Two digits with a sign, `+0.075`; from a hundred on whole numbers."""
    size = abs(value)
    return f"{'+' if value >= 0 else '−'}{number(size) if size >= 1e5 else f'{size:,.0f}' if size >= 100 else f'{size:.2g}'}"


def apart(before: float, after: float) -> str | None:
    """`36.46 → 36.50`: as many digits as tell the two from each other; None where three decimals do not."""
    told = next((one for one in (number, "{:,.2f}".format, "{:,.3f}".format) if one(before) != one(after)), None)
    return f"{told(before)} → {told(after)}" if told else None


def shares_apart(before: float, after: float) -> str | None:
    """`85.9% → 85.8%`; None where that does not tell the two from each other."""
    told = f"{before:.1%}", f"{after:.1%}"
    return None if told[0] == told[1] else " → ".join(told)


def alike(*ends: float) -> list[str]:
    """`+0.0015`, `+0.0008` and `+0.0022`: with signs and one number of decimals, so many that no end reads as zero."""
    if max(map(abs, ends)) >= 1e5:
        return [signed(one) for one in ends]
    least, most = (pick(abs(one) for one in ends if one) for pick in (min, max))
    fine = 1 - math.floor(math.log10(most)), -math.floor(math.log10(2 * least))
    decimals = min(max(0, *fine), 6)
    return [f"{one:+,.{decimals}f}" for one in ends]


def count(many: int, what: str) -> str:
    """`1 run`, `9 runs`."""
    return f"{many:,} {what}{'' if many == 1 else 's'}"
