"""SVD behind a whitening of the inputs (SVD-LLM, Wang et al., 2025, section 3.1): the best rank-r matrix for the output."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.methods.base import CalibratedMethod, Prepared
from reparam_core.methods.factors import cut, factored
from reparam_core.methods.settings import RankSetting
from reparam_core.methods.whitening import whitener
from reparam_core.parametrizations import Leaf, LowRank, Statistics
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class WhitenedSVD(CalibratedMethod):
    """min ‖WX − UVᵀX‖_F: with XᵀX = SSᵀ, the SVD WS = AΣBᵀ cut at r; U = A_r Σ_r^½, Vᵀ = Σ_r^½ B_rᵀ S⁻¹."""

    name: ClassVar[str] = "whitened-svd"
    axis: ClassVar[str] = "rank"
    singular_values: ClassVar[bool] = True
    summary: ClassVar[str] = "keeps what the outputs use most"
    formula: ClassVar[str] = r"\min_{\mathrm{rank}\,r}\lVert WX-W_rX\rVert_F,\\ XX^\top=SS^\top,\\ W_r=(WS)_r\,S^{-1}"

    def prepare_matrix(self, weight: Tensor, statistics: Statistics) -> Prepared:
        whitened = whitener(statistics)
        a, sigma, b = torch.linalg.svd(weight.double() @ whitened.factor, full_matrices=False)
        return factored(a, sigma, b @ whitened.inverse)

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: RankSetting) -> LowRank:
        return cut(prepared, setting)
