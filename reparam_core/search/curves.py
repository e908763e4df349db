"""Settings along each axis, for curves of quality over rank, sparsity and bits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from reparam_core.recipes import Recipe, Step

# From the ends inwards, so that a curve has its shape early and gets its detail later.
SHARES = (1.0, 0.1, 0.5, 0.3, 0.75, 0.2, 0.4, 0.05)
POSITIONS: dict[str, tuple[float | str, ...]] = {
    "keep": SHARES, "parameters": SHARES, "energy": SHARES,
    "fraction": (0.0, 0.9, 0.5, 0.7, 0.2, 0.6, 0.8, 0.4), "pattern": ("2:4", "1:4", "4:8"), "bits": (8, 2, 4, 3, 6, 5)}  # fmt: skip
STEPS: dict[str, list[dict[str, Any]]] = {
    "rank": [{"method": "svd", "keep": keep} for keep in POSITIONS["keep"]],
    "sparsity": [{"method": "magnitude", "fraction": fraction} for fraction in POSITIONS["fraction"]],
    "bits": [{"method": "rtn", "bits": bits, "group": 64} for bits in POSITIONS["bits"]],
}


def curve_recipes(recipe: str = "base") -> list[str]:
    """Canonical recipes over all blocks, the axes in turn; then the curves of each step that a recipe takes."""
    parsed = Recipe.parse(recipe)
    blocks = [Recipe.parse({"rules": [{axis: step}]}).canonical for axis, step in _in_turn()]
    own = [parsed.with_rules([rule]).canonical for rule in _own(parsed)]
    return list(dict.fromkeys([*blocks, *own]))


def _in_turn() -> Iterator[tuple[str, dict[str, Any]]]:
    for steps in zip_longest(*STEPS.values()):
        yield from ((axis, step) for axis, step in zip(STEPS, steps, strict=True) if step is not None)


def _own(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Every step alone, where it applies, at every position; not where each would take long."""
    for rule in recipe.rules:
        where = {} if rule.where is None else {"where": rule.where}
        for axis, step in rule.steps.items():
            for said in _positions(step) if step and _quick(step) else ():
                yield where | {axis: said}


def _quick(step: Step) -> bool:
    """Is every position of its slider had at once?"""
    return type(step.method).instant and step.statistics == "one-shot"


def _positions(step: Step) -> Iterator[dict[str, Any]]:
    said = step.as_json()
    for field in (name for name in POSITIONS if name in said):
        known = [one for one in POSITIONS[field] if field != "bits" or one in step.method.widths]
        yield from (said | {field: value} for value in known)
