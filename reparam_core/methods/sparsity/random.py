"""Pruning at random: what every other choice is measured against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import Prepared, finite, shape_of
from reparam_core.methods.patterns import ByScore, gone_by, pruned
from reparam_core.methods.settings import SparsitySetting
from reparam_core.parametrizations import Leaf, Parametrization
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class Random(ByScore):
    """Of every row of W goes a share drawn without replacement; more zeros keep the zeros of fewer."""

    name: ClassVar[str] = "random"
    axis: ClassVar[str] = "sparsity"
    summary: ClassVar[str] = "zeroes numbers drawn at random"
    formula: ClassVar[str] = r"W'_{ij}=W_{ij}\cdot[\,u_{ij}>t_i\,],\\ u_{ij}\sim\mathcal U(0,1)"
    caches: ClassVar[bool] = False

    seed: Annotated[int, Field(ge=0)] = 0

    def prepare(self, leaves: Mapping[str, Leaf]) -> Prepared:
        for leaf in leaves.values():
            finite(leaf.weight)
        return {}

    def at(
        self, prepared: Prepared, leaves: Mapping[str, Leaf], setting: SparsitySetting
    ) -> dict[str, Parametrization]:
        ((name, leaf),) = leaves.items()
        shape = shape_of(leaf)
        self.refuse(setting, shape)
        return {name: pruned(leaf, gone_by(_drawn(shape, [self.seed, *name.encode()]), setting))}


def _drawn(shape: tuple[int, int], seed: list[int]) -> Tensor:
    """Scores of 16 random bits, float32: the name in the seed gives matrices of one shape draws of their own."""
    count = shape[0] * shape[1]
    raw: NDArray[np.uint64] = np.random.SFC64(seed).random_raw(-(-count // 4))
    return torch.from_numpy(raw.view(np.uint16)[:count].astype(np.float32)).view(shape)
