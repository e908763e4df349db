"""Pruning at random: what every other choice is measured against."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.methods.base import MatrixMethod, Prepared
from reparam_core.methods.patterns import ByScore, gone_by, pruned
from reparam_core.methods.settings import SparsitySetting
from reparam_core.parametrizations import Leaf, Sparse
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class Random(ByScore, MatrixMethod):
    """Of every row of W goes a share drawn without replacement; more zeros keep the zeros of fewer."""

    name: ClassVar[str] = "random"
    axis: ClassVar[str] = "sparsity"
    summary: ClassVar[str] = "zeroes numbers drawn at random"
    formula: ClassVar[str] = r"W'_{ij}=W_{ij}\cdot[\,u_{ij}>t_i\,],\\ u_{ij}\sim\mathcal U(0,1)"
    caches: ClassVar[bool] = False

    seed: int = 0

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: SparsitySetting) -> Sparse:
        scores = torch.rand(leaf.weight.shape, generator=torch.Generator().manual_seed(self.seed))
        return pruned(leaf, gone_by(scores, setting))
