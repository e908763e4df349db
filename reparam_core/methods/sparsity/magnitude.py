"""Magnitude pruning: the ℓ0 projection, which zeroes the numbers nearest to zero (Han et al., 2015)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from reparam_core.methods.base import Method, Prepared, Unit
from reparam_core.methods.settings import SparsitySetting
from reparam_core.parametrizations import Dense, Leaf, Parametrization, Sparse
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class Magnitude(Method):
    """Zeroes exactly floor(fraction · count) of a unit's numbers, ties by index; or all below a threshold."""

    name: ClassVar[str] = "magnitude"
    axis: ClassVar[str] = "sparsity"
    summary: ClassVar[str] = "zeroes the smallest numbers"

    scope: Unit = "matrix"  # over which the smallest are sought: each matrix, each layer, or the whole model

    @property
    def unit(self) -> Unit:
        return self.scope

    def prepare(self, leaves: Mapping[str, Leaf]) -> Prepared:
        return {role: _sorted_magnitudes(leaf.weight) for role, leaf in leaves.items()}

    def at(
        self, prepared: Prepared, leaves: Mapping[str, Leaf], setting: SparsitySetting
    ) -> dict[str, Parametrization]:
        if setting.fraction is None:
            threshold, ties = float(setting.threshold or 0), 0
        else:
            count = int(setting.fraction * sum(leaf.weight.numel() for leaf in leaves.values()))
            threshold, ties = _threshold(prepared, count)
        forms: dict[str, Parametrization] = {}
        for role, leaf in leaves.items():
            mask, used = _mask(leaf.weight, threshold, ties)
            ties -= used
            forms[role] = Sparse(mask, Dense(leaf.weight * mask))
        return forms


def _sorted_magnitudes(weight: Tensor) -> Tensor:
    """|w| in rising order, at half the size where the checkpoint's numbers were 16 bits wide."""
    magnitudes = torch.from_numpy(np.sort(weight.float().abs().reshape(-1).numpy()))
    half = magnitudes.half()
    return half if torch.equal(half.float(), magnitudes) else magnitudes


def _threshold(prepared: Prepared, count: int) -> tuple[float, int]:
    """The count-th smallest magnitude, and how many equal to it go: a search over ordered bit patterns."""
    low, high = 0, int(torch.tensor(torch.finfo(torch.float32).max).view(torch.int32))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _below(prepared, _float(middle)) <= count else (low, middle - 1)
    threshold = _float(low)
    return threshold, count - _below(prepared, threshold)


def _float(bits: int) -> float:
    return float(torch.tensor(bits, dtype=torch.int32).view(torch.float32))


def _below(prepared: Prepared, threshold: float) -> int:
    """How many magnitudes are below the threshold."""
    return sum(int(np.searchsorted(values.numpy(), np.float32(threshold))) for values in prepared.values())


def _mask(weight: Tensor, threshold: float, ties: int) -> tuple[Tensor, int]:
    """True where kept; of the numbers at the threshold the first `ties` go too. Also how many of those went."""
    magnitudes = weight.abs()
    mask = magnitudes >= threshold
    if ties <= 0:
        return mask, 0
    equal = (magnitudes == threshold).reshape(-1).nonzero().reshape(-1)[:ties]
    mask.view(-1)[equal] = False
    return mask, len(equal)
