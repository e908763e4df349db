"""Activation-aware SVD (Yuan et al., 2023, section 3.2)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import CalibratedMethod, Prepared
from reparam_core.methods.factors import cut, factored
from reparam_core.methods.settings import RankSetting
from reparam_core.parametrizations import Leaf, LowRank, Statistics
from reparam_core.registry import register

LEAST = 1e-4  # of the mean scale: a channel that is never used keeps that much of a say


@register
@dataclass(frozen=True)
class ASVD(CalibratedMethod):
    """SVD of W·D cut at r, then ·D⁻¹, with D = diag(s^α): channels with large inputs are kept better.

    s is the root mean square of a channel's inputs (the paper takes the mean of |x|, or its maximum).
    """

    name: ClassVar[str] = "asvd"
    axis: ClassVar[str] = "rank"
    singular_values: ClassVar[bool] = True
    summary: ClassVar[str] = "favours channels with large inputs"
    formula: ClassVar[str] = r"WD=A\Sigma B^\top,\quad W'=A_r\Sigma_rB_r^\top D^{-1},\quad D=\mathrm{diag}(s^\alpha)"

    alpha: Annotated[float, Field(gt=0, le=1)] = 0.5

    def prepare_matrix(self, weight: Tensor, statistics: Statistics) -> Prepared:
        size = statistics.norms.double() / max(1, statistics.count) ** 0.5
        scale = size.clamp_min(LEAST * float(size.mean()) or 1.0).pow(self.alpha)
        a, sigma, b = torch.linalg.svd(weight.double() * scale, full_matrices=False)
        return factored(a, sigma, b / scale)

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: RankSetting) -> LowRank:
        return cut(prepared, setting)
