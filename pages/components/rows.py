"""Measured points as the charts take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from pages.components.places import place_of
from pages.components.words import source_words
from reparam_core.data import own_title
from reparam_core.figures.tradeoffs import Along, Row, Scale
from reparam_core.jobs import Point
from reparam_core.models import Model
from reparam_core.recipes import Recipe, Step
from reparam_core.search.curves import STEPS

QualityKind = Literal["perplexity", "accuracy"]
POSITIONS = {"keep": 100, "parameters": 100, "energy": 100, "rank": 1, "fraction": 100, "threshold": 1, "bits": 1}
UNTOUCHED_AT = {"fraction": 0.0, "threshold": 0.0}  # positions that leave a matrix as it is: the base ends those curves
SWEPT = {axis: Recipe.parse({"rules": [{axis: steps[0]}]}) for axis, steps in STEPS.items()}


@dataclass(frozen=True)
class Family:
    """Settings of one step that differ in its position alone: together they are a curve."""

    axis: str
    field: str  # of the setting, that the position is
    where: str | None
    step: tuple[tuple[str, Any], ...]  # what else the step says: method, its fields, group …
    storage: str | None

    @property
    def along(self) -> Along:
        """In words, as a chart has it."""
        place = place_of(self.where)
        told = ", ".join(_field_words(name, value) for name, value in self.step)
        return Along(self.axis, self.field, f"{place.words if place else self.where} ({told})")


def _field_words(name: str, value: Any) -> str:
    """`svd`, `group 64`, `symmetric`."""
    return str(value) if name == "method" else name if value is True else f"{name.replace('_', ' ')} {value}"


def row_of(point: Point, quality: QualityKind) -> Row:
    """A point with its size and its quality with interval."""
    axes = {step.axis for _, step in _steps(_parsed(point.recipe))}
    axis = "base" if not axes else "combined" if len(axes) > 1 else axes.pop()
    low, high = _interval(point, quality) or (None, None)
    return Row(point.recipe, point.short, axis, point.size_ratio, getattr(point, quality), low, high, final=point.final)


def _interval(point: Point, quality: QualityKind) -> tuple[float, float] | None:
    change, base = ((point.accuracy_interval, point.base_accuracy) if quality == "accuracy"
                    else (point.perplexity_interval, point.base_perplexity))  # fmt: skip
    return (base + change[0], base + change[1]) if change else None


def scale_of(point: Point, quality: QualityKind) -> Scale:
    """Perplexity of a text on a log axis, or the share of right answers."""
    return Scale(quality, source_words(point.source), quality == "perplexity")


def family_of(recipe: str, axis: str) -> Family:
    """The curve that a canonical recipe's step on this axis belongs to; the sweep's where it takes none there."""
    parsed = _parsed(recipe)
    known = [found for found in _steps(parsed) if found[1].axis == axis] or _steps(SWEPT[axis])
    return _family(*known[-1], parsed.storage)


def position_of(recipe: str, family: Family) -> float | None:
    """Where a setting stands on that curve; None where it is not of it."""
    parsed = _parsed(recipe)
    steps = _steps(parsed)
    if not steps and parsed.storage == family.storage:
        return UNTOUCHED_AT.get(family.field)
    if len(steps) != 1 or _family(*steps[0], parsed.storage) != family:
        return None
    return float(POSITIONS[family.field] * getattr(steps[0][1].setting, family.field))


def along(family: Family, points: Sequence[Point], quality: QualityKind) -> list[Row]:
    """The settings of one curve, each position once: the base only where no setting of the curve has its place."""
    places = {position: point for point in sorted(points, key=lambda one: len(_steps(_parsed(one.recipe))))
              if (position := position_of(point.recipe, family)) is not None}  # fmt: skip
    return [replace(row_of(point, quality), position=position) for position, point in places.items()]


def provenance_of(model: Model, points: Sequence[Point]) -> str:
    """Where a chart's numbers come from: every source that it shows, those that were asked alike together."""
    marked = f", a checkpoint of {model.source_bits} bits" if model.source_bits else ""
    asked: dict[str, list[str]] = {}
    for point in points:
        asked.setdefault(_asked(point), []).append(own_title(point.source) or point.source.rpartition("/")[2])
    sources = "; ".join(f"{' and '.join(names)}: {told}" for told, names in asked.items())
    return f"{model.name}{marked} · {sources} · {points[0].dtype} · Reparam Explorer"


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


def _family(where: str | None, step: Step, storage: str | None) -> Family:
    said = step.as_json() | {name: value for name, value in step.setting.model_dump().items() if value is not None}
    field = next(name for name in type(step.setting).choices or ("bits",) if name in said)
    rest = tuple((name, value) for name, value in said.items() if name != field and value is not False)
    return Family(step.axis, field, where, rest, storage)
