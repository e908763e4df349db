"""What a setting's figures are told against: the base, or the setting that is pinned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reparam_core.jobs import Explored, Point, Ticket, compared
from reparam_core.recipes import Recipe

BASE = Recipe.parse("base").canonical


@dataclass(frozen=True)
class Baseline:
    """The base unless a setting is pinned."""

    name: str = "the base"
    recipe: str = BASE
    points: Mapping[str, Point] | None = None  # the pinned setting's, by source; None: every point knows its base

    @property
    def pinned(self) -> bool:
        """Is it another setting than the base that every point is measured with?"""
        return self.points is not None

    def beside(self, point: Point) -> Point | None:
        """The point told against this; None until the pinned setting is measured on the same questions."""
        if self.points is None:
            return point
        other = self.points.get(point.source)
        paired = compared(point, other) if other else None
        if other is None or paired is None:
            return None
        return replace(
            point, base_perplexity=other.perplexity, delta_nll=paired.nll, nll_interval=paired.nll_interval,
            base_accuracy=other.accuracy, accuracy_interval=paired.accuracy_interval,
            bytes_base=other.bytes, parameters_base=other.parameters,
        )  # fmt: skip

    def same(self, point: Point) -> bool:
        """Is it the very setting?"""
        return point.recipe == self.recipe


def baseline_of(pinned: str | None, ticket: Ticket | None) -> Baseline:
    """The pinned setting as far as it is measured; the base where none is pinned, or where it does not fit the model."""
    if pinned is None or ticket is None or ticket.error is not None:
        return Baseline()
    found: Explored | None = ticket.latest
    return Baseline(f"the pinned setting ({Recipe.parse(pinned).short()})", pinned, found.points if found else {})
