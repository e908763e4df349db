"""Truncated singular value decomposition (Eckart and Young, 1936): the best rank-r matrix in the Frobenius norm."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.methods.base import MatrixMethod, Prepared
from reparam_core.methods.factors import cut, factored
from reparam_core.methods.settings import RankSetting
from reparam_core.parametrizations import Leaf, LowRank
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class SVD(MatrixMethod):
    """W = A Σ Bᵀ; keeps U = A_r Σ_r^½ and Vᵀ = Σ_r^½ B_rᵀ."""

    name: ClassVar[str] = "svd"
    axis: ClassVar[str] = "rank"
    singular_values: ClassVar[bool] = True
    summary: ClassVar[str] = "keeps the largest singular values"
    formula: ClassVar[str] = r"W=A\Sigma B^\top\;\to\;W_r=\textstyle\sum_{i\le r}\sigma_i a_i b_i^\top"

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return factored(*torch.linalg.svd(weight, full_matrices=False))

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: RankSetting) -> LowRank:
        return cut(prepared, setting)
