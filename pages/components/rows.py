"""Measured points as the charts take them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal

from pages.components.calibration import calibration_note
from pages.components.places import where_words
from pages.components.words import MEASURES, source_words
from reparam_core.data import own_title
from reparam_core.figures.tradeoffs import Along, Row, Scale, Through
from reparam_core.jobs import Point
from reparam_core.measure.worked import share_of_zeros
from reparam_core.methods.rewriting import Transform
from reparam_core.models import Model
from reparam_core.recipes import Cache, Calibration, Recipe, Step
from reparam_core.registry import AXES, methods
from reparam_core.search.curves import STEPS

QualityKind = Literal["perplexity", "accuracy"]
POSITIONS = {
    "keep": 100,
    "pattern": 100,
    "parameters": 100,
    "energy": 100,
    "rank": 1,
    "fraction": 100,
    "threshold": 1,
    "bits": 1,
}
UNTOUCHED_AT = {
    "fraction": 0.0,
    "pattern": 0.0,
    "threshold": 0.0,
}  # positions that leave a matrix as it is: the base ends those curves
SWEPT = {axis: Recipe.parse({"rules": [{axis: steps[0]}]}) for axis, steps in STEPS.items()}

OF_THE_WHOLE = attrgetter("storage", "transform", "cache")  # what a recipe says of no single matrix


@dataclass(frozen=True)
class Family:
    """Settings of one step that differ in its position alone: together they are a curve."""

    axis: str
    field: str  # of the setting, that the position is
    where: str | None
    step: tuple[tuple[str, Any], ...]  # what else the step says: method, its fields, group …
    storage: str | None
    calibration: Calibration | None  # None where neither the step nor what is rewritten first reads any
    transform: tuple[Transform, ...] = ()
    cache: Cache | None = None

    @property
    def along(self) -> Along:
        """In words, as a chart has it."""
        told = [_field_words(name, value) for name, value in self.step]
        told += [f"after {one.short()}" for one in self.transform]
        told += [self.cache.short()] if self.cache else []
        told += ["patterns"] if self.field == "pattern" else []
        whole = methods()[dict(self.step)["method"]].removes
        drawn = "units" if whole else "fraction" if self.field == "pattern" else self.field
        return Along(self.axis, drawn, f"{where_words(self.where)} ({', '.join(told)})")


def _field_words(name: str, value: Any) -> str:
    """`svd`, `group 64`, `symmetric`, `sequential`."""
    return (
        f"{name} by {value}"
        if name == "split"
        else str(value)
        if name in ("method", "statistics")
        else name
        if value is True
        else f"{name.replace('_', ' ')} {value}"
    )


def row_of(point: Point, quality: QualityKind) -> Row:
    """A point with its size and its quality with interval."""
    low, high = _interval(point, quality) or (None, None)
    return Row(
        point.recipe,
        point.short,
        axis_of(point.recipe),
        point.size_ratio,
        getattr(point, quality),
        low,
        high,
        final=point.final,
    )


def axis_of(recipe: str) -> str:
    """`transform`, `rank`, `sparsity`, `bits`, `combined` or `base`: whose hue a setting has."""
    axes, parsed = axes_of(recipe), _parsed(recipe)
    if parsed.cache is not None:
        return "combined" if axes or parsed.transform else "bits"
    if not axes:
        return "transform" if parsed.transform else "base"
    return "combined" if len(axes) > 1 else axes[0]


def axes_of(recipe: str) -> list[str]:
    """Those on which it takes a step, in the order of the controls."""
    used = {step.axis for _, step in _steps(_parsed(recipe))}
    return [axis for axis in AXES if axis in used]


def _interval(point: Point, quality: QualityKind) -> tuple[float, float] | None:
    change, base = ((point.accuracy_interval, point.base_accuracy) if quality == "accuracy"
                    else (point.perplexity_interval, point.base_perplexity))  # fmt: skip
    return (base + change[0], base + change[1]) if change else None


def choice_words(point: Point, quality: QualityKind) -> str:
    """`svd:0.5 (0.98×, 40)`, in a menu of settings that says what the two are."""
    return f"{point.short} ({point.size_ratio:.2f}×, {scale_of(point, quality).told(getattr(point, quality))})"


def scale_of(point: Point, quality: QualityKind) -> Scale:
    """Perplexity of a text on a log axis, or the share of right answers, by the name that says of what."""
    if quality == "perplexity":
        return Scale(quality, source_words(point.source), log=True)
    return Scale(
        MEASURES[point.unit], source_words(point.source), log=False, chance=point.majority if point.labelled else None
    )


def of_one_measure(sources: Sequence[Sequence[Point]]) -> list[Sequence[Point]]:
    """The sources, each with its points, on which the first one's measure is taken: right choices are no next tokens."""
    return [points for points in sources if points[0].unit == sources[0][0].unit]


def family_of(recipe: str, axis: str) -> Family:
    """The curve that a canonical recipe's step on this axis belongs to; the sweep's where it takes none there."""
    parsed = _parsed(recipe)
    known = [found for found in _steps(parsed) if found[1].axis == axis] or _steps(SWEPT[axis])
    return _family(*known[-1], parsed)


def position_of(recipe: str, family: Family) -> float | None:
    """Where a setting stands on that curve; None where it is not of it."""
    parsed = _parsed(recipe)
    steps = _steps(parsed)
    if not steps and OF_THE_WHOLE(parsed) == OF_THE_WHOLE(family):
        alike = not parsed.reads or parsed.calibration == family.calibration
        return UNTOUCHED_AT.get(family.field) if alike else None
    return _position(steps[0][1], family.field) if len(steps) == 1 and _family(*steps[0], parsed) == family else None


def _position(step: Step, field: str) -> float:
    setting: Any = step.setting
    place = share_of_zeros(setting) if field == "pattern" else getattr(setting, field)
    return float(POSITIONS[field] * (place or 0))


def through(recipe: str, axis: str, points: Sequence[Point], quality: QualityKind) -> Through | None:
    """The curve through a setting of several steps: those that differ from it in the position on this axis alone."""
    steps = _steps(_parsed(recipe))
    own = [step for _, step in steps if step.axis == axis]
    if len(steps) < 2 or not own:
        return None
    field, shared = family_of(recipe, axis).field, _held(recipe, axis)
    others = " and ".join(step.told() for _, step in steps if step is not own[-1])
    rows = [replace(row_of(point, quality), position=_position(_last_step(point.recipe, axis), field))
            for point in points if axis in axes_of(point.recipe) and _held(point.recipe, axis) == shared]  # fmt: skip
    return Through(f"with {others}", _position(own[-1], field), rows)


def _last_step(recipe: str, axis: str) -> Step:
    return [step for _, step in _steps(_parsed(recipe)) if step.axis == axis][-1]


@lru_cache(4096)
def _held(recipe: str, axis: str) -> tuple[str, str]:
    """What a recipe says beside its last position on this axis, and in which unit that is."""
    told, field = json.loads(recipe), family_of(recipe, axis).field
    del [rule for rule in told["rules"] if rule.get(axis)][-1][axis][field]
    return field, json.dumps(told, sort_keys=True)


def along(family: Family, points: Sequence[Point], quality: QualityKind) -> list[Row]:
    """The settings of one curve, each once: the base only where no setting of the curve has its place."""
    places = {_place(point, family, position): (position, point)
              for point in sorted(points, key=lambda one: len(_steps(_parsed(one.recipe))))
              if (position := position_of(point.recipe, family)) is not None}  # fmt: skip
    return [replace(row_of(point, quality), position=position) for position, point in places.values()]


def _place(point: Point, family: Family, position: float) -> Any:
    """What only one setting of a curve has: its position; among patterns 2:4 and 4:8 share theirs."""
    return point.recipe if family.field == "pattern" else position


def provenance_of(model: Model, points: Sequence[Point], recipe: str | None = None) -> str:
    """Where a chart's numbers come from: every source that it shows, those that were asked alike together.

    And what the recipe, the points' own unless another is what is looked at, is calibrated on.
    """
    marked = f", a checkpoint of {model.source_bits} bits" if model.source_bits else ""
    asked: dict[str, list[str]] = {}
    for point in points:
        asked.setdefault(_asked(point), []).append(own_title(point.source) or point.source.rpartition("/")[2])
    sources = "; ".join(f"{' and '.join(names)}: {told}" for told, names in asked.items())
    names = [point.source.rpartition("/")[2] for point in points]
    read = calibration_note(model, recipe or points[0].recipe, names)
    told = [f"{model.name}{marked}", sources, *([read] if read else []), points[0].dtype, "Reparam Explorer"]
    return " · ".join(told)


def shown_for(points: Sequence[Point]) -> Point:
    """The point that speaks for a chart: one that is measured to the end, where there is one."""
    return next((point for point in points if point.final), points[0])


def _asked(point: Point) -> str:
    """`8,192 tokens, sequences of 257, every position but the first scored`."""
    estimate = "" if point.final else "estimate from "
    return f"{estimate}{point.answers:,} {point.unit}s, {point.convention}"


@lru_cache(4096)
def _parsed(canonical: str) -> Recipe:
    """A chart looks at every point's recipe each time it is drawn."""
    return Recipe.parse(canonical)


def _steps(recipe: Recipe) -> list[tuple[str | None, Step]]:
    """Every step with where it applies."""
    return [(rule.where, step) for rule in recipe.rules for step in rule.steps.values() if step]


def _family(where: str | None, step: Step, recipe: Recipe) -> Family:
    said = step.as_json() | {name: value for name, value in step.setting.model_dump().items() if value is not None}
    field = next(name for name in type(step.setting).choices or ("bits",) if name in said)
    rest = tuple((name, value) for name, value in said.items() if name != field and value is not False)
    read = recipe.calibration if step.needs or recipe.reads_first else None
    return Family(step.axis, field, where, rest, recipe.storage, read,
                  recipe.transform, recipe.cache)  # fmt: skip
