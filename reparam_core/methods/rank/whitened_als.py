"""Alternating least squares in the output's norm: the same objective as the whitened SVD, solved factor by factor."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import CalibratedMethod, Prepared
from reparam_core.methods.least_squares import alternating
from reparam_core.methods.settings import RankSetting
from reparam_core.methods.whitening import whitener
from reparam_core.parametrizations import Dense, Leaf, LowRank, Statistics
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class WhitenedALS(CalibratedMethod):
    """min ‖WX − UVᵀX‖_F by turns: with XᵀX = SSᵀ each factor of WS ≈ UṼᵀ is a least-squares problem; Vᵀ = ṼᵀS⁻¹."""

    name: ClassVar[str] = "whitened-als"
    axis: ClassVar[str] = "rank"
    summary: ClassVar[str] = "solves in turn for the outputs"
    formula: ClassVar[str] = r"\min_{U,V}\lVert WX-UV^\top X\rVert_F^2"
    instant: ClassVar[bool] = False

    iterations: Annotated[int, Field(ge=1)] = 50
    tolerance: Annotated[float, Field(ge=0)] = 1e-5  # stops when the loss falls by less than this share in one round
    seed: int = 0

    def prepare_matrix(self, weight: Tensor, statistics: Statistics) -> Prepared:
        whitened = whitener(statistics)
        return {"whitened": weight.double() @ whitened.factor, "inverse": whitened.inverse}

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: RankSetting) -> LowRank:
        whitened = prepared["whitened"]
        sigma = torch.linalg.svdvals(whitened) if setting.energy else None
        r = setting.resolve((whitened.shape[0], whitened.shape[1]), sigma)
        for u, v, _loss in alternating(whitened, r, self.iterations, self.tolerance, self.seed):
            left, right = u, v
        # Least squares leaves all of the size in V; shared evenly, half precision holds both.
        tiny = torch.finfo(left.dtype).tiny
        size = (right.norm().clamp_min(tiny) / left.norm().clamp_min(tiny)).sqrt()
        return LowRank(Dense((left * size).float()), Dense((right.T / size @ prepared["inverse"]).float()))
