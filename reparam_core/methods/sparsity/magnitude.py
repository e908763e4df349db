"""Magnitude pruning: the ℓ0 projection, which zeroes the numbers nearest to zero (Han et al., 2015)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, hardshrink

from reparam_core.methods.base import Method, Prepared, Unit, finite, shape_of
from reparam_core.methods.patterns import gone_by, pruned
from reparam_core.methods.settings import SparsitySetting
from reparam_core.parametrizations import Dense, Leaf, Parametrization, Sparse
from reparam_core.registry import register

PIECE = 2**17  # numbers looked at together


@register
@dataclass(frozen=True)
class Magnitude(Method):
    """Zeroes exactly floor(fraction · count) of a unit's numbers, ties by index; or all below a threshold."""

    name: ClassVar[str] = "magnitude"
    axis: ClassVar[str] = "sparsity"
    summary: ClassVar[str] = "zeroes the smallest numbers"
    formula: ClassVar[str] = r"W'_{ij}=W_{ij}\cdot[\,|W_{ij}|>t\,]"

    scope: Unit = "matrix"  # over which the smallest are sought: each matrix, each layer, or the whole model

    @property
    def unit(self) -> Unit:
        return self.scope

    def prepare(self, leaves: Mapping[str, Leaf]) -> Prepared:
        return {role: _sorted_magnitudes(finite(leaf.weight)) for role, leaf in leaves.items()}

    def at(
        self, prepared: Prepared, leaves: Mapping[str, Leaf], setting: SparsitySetting
    ) -> dict[str, Parametrization]:
        for leaf in leaves.values():
            self.refuse(setting, shape_of(leaf))
        if setting.kept_of is not None or setting.block is not None:
            return {role: pruned(leaf, gone_by(leaf.weight.abs(), setting)) for role, leaf in leaves.items()}
        if setting.fraction is None:
            threshold, ties = float(setting.threshold or 0), 0
        else:
            count = int(setting.fraction * sum(leaf.weight.numel() for leaf in leaves.values()))
            threshold, ties = _threshold(prepared, count)
        forms: dict[str, Parametrization] = {}
        for role, leaf in leaves.items():
            below, equal = _below_and_equal(prepared[role], threshold)
            gone = min(ties, equal)
            ties -= gone
            values = _pruned(leaf.weight, threshold, gone, equal)
            zeros = below + gone if threshold else equal  # what was zero before is not kept either
            forms[role] = Sparse(None, Dense(values, leaf.storage), leaf.weight.numel() - zeros)
        return forms


def _sorted_magnitudes(weight: Tensor) -> Tensor:
    """|w| in rising order, at half the size where the checkpoint's numbers were 16 bits wide."""
    magnitudes = torch.from_numpy(np.sort(weight.float().abs().reshape(-1).numpy()))
    half = magnitudes.half()
    return half if torch.equal(half.float(), magnitudes) else magnitudes


def _threshold(prepared: Prepared, count: int) -> tuple[float, int]:
    """The count-th smallest magnitude, and how many equal to it go."""
    threshold = _smallest(prepared, count)
    return threshold, count - _below(prepared, threshold)


def _smallest(prepared: Prepared, count: int) -> float:
    """The magnitude that has `count` before it: read off one matrix, searched over ordered bit patterns in several."""
    if len(prepared) == 1:
        (values,) = prepared.values()
        return float(values[min(count, len(values) - 1)])
    low, high = 0, int(torch.tensor(torch.finfo(torch.float32).max).view(torch.int32))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _below(prepared, _float(middle)) <= count else (low, middle - 1)
    return _float(low)


def _float(bits: int) -> float:
    return float(torch.tensor(bits, dtype=torch.int32).view(torch.float32))


def _below(prepared: Prepared, threshold: float) -> int:
    """How many magnitudes are below the threshold."""
    return sum(_count_below(one, threshold) for one in prepared.values())


def _count_below(magnitudes: Tensor, threshold: float) -> int:
    values = magnitudes.numpy()
    return int(np.searchsorted(values, _least(values.dtype, threshold)))


def _below_and_equal(magnitudes: Tensor, threshold: float) -> tuple[int, int]:
    """How many of one matrix's magnitudes are below the threshold, and how many are at it."""
    below = _count_below(magnitudes, threshold)
    return below, _count_below(magnitudes, float(np.nextafter(np.float32(threshold), np.float32(np.inf)))) - below


def _least(dtype: np.dtype, threshold: float) -> np.floating:
    """The least number of this dtype that is not below the threshold: a wider one would widen the whole array."""
    with np.errstate(over="ignore"):
        near: np.floating = dtype.type(threshold)
    return near if float(near) >= threshold else np.nextafter(near, dtype.type(np.inf))


def _pruned(weight: Tensor, threshold: float, gone: int, equal: int) -> Tensor:
    """The weight with zeros below the threshold and at the first `gone` of the `equal` places that are at it."""
    if threshold == 0:
        return weight
    strictly = np.nextafter(np.float32(threshold), np.float32(0)).item()
    if gone in (0, equal):
        return hardshrink(weight, threshold if gone else strictly)
    flat, values = weight.reshape(-1), torch.empty_like(weight)
    end = _behind(flat, threshold, gone)
    torch.hardshrink(flat[:end], threshold, out=values.view(-1)[:end])
    torch.hardshrink(flat[end:], strictly, out=values.view(-1)[end:])
    return values


def _behind(flat: Tensor, threshold: float, nth: int) -> int:
    """The place right behind the nth number of that magnitude.

    NumPy compares many times faster than torch; in pieces, what it writes stays in the processor's cache.
    """
    magnitudes = np.empty(PIECE, np.float32)
    for start in range(0, len(flat), PIECE):
        piece = flat[start : start + PIECE].numpy()
        marked = np.abs(piece, out=magnitudes[: len(piece)]) == np.float32(threshold)
        there = int(np.count_nonzero(marked))
        if there >= nth:
            return start + int(np.flatnonzero(marked)[nth - 1]) + 1
        nth -= there
    return len(flat)
