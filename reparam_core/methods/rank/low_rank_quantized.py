"""A quantized matrix with a low-rank correction of its error in the output's norm (LQER, Zhang et al., 2024; EoRA, Liu et al., 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import CalibratedMethod, Prepared, shape_of
from reparam_core.methods.factors import cut, factored
from reparam_core.methods.grids import rounded
from reparam_core.methods.settings import BitsSetting, RankSetting
from reparam_core.methods.whitening import whitener
from reparam_core.methods.worked import coded, factors
from reparam_core.parametrizations import Leaf, Quantized, Statistics, Sum
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class LowRankQuantized(CalibratedMethod):
    """W ≈ Q + UVᵀ: Q rounded to nearest, UVᵀ the best rank r for min ‖(W − Q)X − UVᵀX‖_F, by the whitened SVD."""

    name: ClassVar[str] = "low-rank-quantized"
    axis: ClassVar[str] = "rank"
    singular_values: ClassVar[bool] = True
    summary: ClassVar[str] = "rounds, and two factors correct it"
    formula: ClassVar[str] = r"W'=Q+UV^\top,\quad \min_{U,V}\lVert (W-Q)X-UV^\top X\rVert_F^2"

    bits: Annotated[int, Field(ge=2, le=8)] = 4
    group: Annotated[int, Field(ge=1)] = 64

    def prepare_matrix(self, weight: Tensor, statistics: Statistics) -> Prepared:
        whitened = whitener(statistics)
        error = (weight - self._rounded(weight).dense()).double()
        a, sigma, b = torch.linalg.svd(error @ whitened.factor, full_matrices=False)
        return factored(a, sigma, b @ whitened.inverse)

    def worked(self, leaves: Mapping[str, Leaf], setting: RankSetting) -> str:
        (leaf,) = leaves.values()
        shape = shape_of(leaf)
        return f"UVᵀ: {factors(shape, setting)}; Q: {coded(shape, 2**self.bits, self.group, 'grids')}"

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: RankSetting) -> Sum:
        return Sum([self._rounded(leaf.weight.float()), cut(prepared, setting)])

    def _rounded(self, weight: Tensor) -> Quantized:
        return rounded(weight, BitsSetting(bits=self.bits, group=self.group))
