"""Measured points as the charts take them."""

from __future__ import annotations

from typing import Literal

from pages.components.words import source_words
from reparam_core.figures.tradeoffs import Row, Scale
from reparam_core.jobs import Point
from reparam_core.models import Model
from reparam_core.recipes import Recipe, Step

QualityKind = Literal["perplexity", "accuracy"]
POSITIONS = {"rank": ("keep", 100), "sparsity": ("fraction", 100), "bits": ("bits", 1)}


def row_of(point: Point, quality: QualityKind) -> Row:
    """A point with its size, its quality with interval, and where it stands along its axis."""
    steps = [step for rule in Recipe.parse(point.recipe).rules for step in rule.steps.values() if step]
    axes = {step.axis for step in steps}
    axis = "base" if not axes else "combined" if len(axes) > 1 else axes.pop()
    low, high = _interval(point, quality) or (None, None)
    return Row(point.recipe, point.short, axis, point.size_ratio, getattr(point, quality), low, high,
               _position(steps), point.final)  # fmt: skip


def _interval(point: Point, quality: QualityKind) -> tuple[float, float] | None:
    change, base = ((point.accuracy_interval, point.base_accuracy) if quality == "accuracy"
                    else (point.perplexity_interval, point.base_perplexity))  # fmt: skip
    return (base + change[0], base + change[1]) if change else None


def _position(steps: list[Step]) -> float | None:
    """Along the axis of a setting that takes one step."""
    if len(steps) != 1:
        return None
    name, factor = POSITIONS[steps[0].axis]
    value = getattr(steps[0].setting, name)
    return None if value is None else factor * value


def scale_of(point: Point, quality: QualityKind) -> Scale:
    """Perplexity of a text on a log axis, or the share of right answers."""
    return Scale(quality, source_words(point.source), quality == "perplexity")


def along(axis: str, points: list[Point], quality: QualityKind) -> list[Row]:
    """The settings of one axis applied to all blocks."""
    default = [one for one in points if all(rule.where is None for rule in Recipe.parse(one.recipe).rules)]
    return [row for one in default if (row := row_of(one, quality)).axis == axis]


def provenance_of(model: Model, point: Point) -> str:
    """Where a chart's numbers come from."""
    marked = f", a checkpoint of {model.source_bits} bits" if model.source_bits else ""
    convention = "" if point.labelled else " in sequences of 257, every position but the first scored"
    asked = f"{point.answers:,} {point.unit}s{convention}"
    return f"{model.name}{marked} · {point.source.rpartition('/')[2]}: {asked} · {point.dtype} · Reparam Explorer"
