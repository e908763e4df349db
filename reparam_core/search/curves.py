"""Settings along each axis, for curves of quality over rank, sparsity and bits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from reparam_core.recipes import Recipe

# Each axis from its ends inwards, so that a curve has its shape early and gets its detail later.
STEPS: dict[str, list[dict[str, Any]]] = {
    "rank": [{"method": "svd", "keep": keep} for keep in (1.0, 0.1, 0.5, 0.3, 0.75, 0.2, 0.4, 0.05)],
    "sparsity": [{"method": "magnitude", "fraction": share} for share in (0.0, 0.9, 0.5, 0.7, 0.2, 0.6, 0.8, 0.4)],
    "bits": [{"method": "rtn", "bits": bits, "group": 64} for bits in (8, 2, 4, 3, 6, 5)],
}


def curve_recipes() -> list[str]:
    """Canonical recipes over all blocks, the axes in turn."""
    return [Recipe.parse({"rules": [{axis: step}]}).canonical for axis, step in _in_turn()]


def _in_turn() -> Iterator[tuple[str, dict[str, Any]]]:
    for steps in zip_longest(*STEPS.values()):
        yield from ((axis, step) for axis, step in zip(STEPS, steps, strict=True) if step is not None)
