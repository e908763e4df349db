"""Alternating least squares, as the textbook has it: fix V, solve for U; fix U, solve for V; until it converges."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import MatrixMethod, Prepared
from reparam_core.methods.least_squares import alternating
from reparam_core.methods.settings import RankSetting
from reparam_core.parametrizations import Dense, Leaf, LowRank
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class ALS(MatrixMethod):
    """min ‖W − U Vᵀ‖²_F from a random start; its loss falls towards the SVD's, the optimum."""

    name: ClassVar[str] = "als"
    axis: ClassVar[str] = "rank"
    summary: ClassVar[str] = "solves for each factor in turn"
    formula: ClassVar[str] = r"\min_{U,V}\lVert W-UV^\top\rVert_F^2"
    instant: ClassVar[bool] = False
    caches: ClassVar[bool] = False

    iterations: Annotated[int, Field(ge=1)] = 30
    tolerance: Annotated[float, Field(ge=0)] = 1e-4  # stops when the loss falls by less than this share in one round
    seed: int = 0

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: RankSetting) -> LowRank:
        w = leaf.weight.float()
        r = setting.resolve((w.shape[0], w.shape[1]), torch.linalg.svdvals(w) if setting.energy else None)
        for u, v, _loss in self.rounds(w, r):
            left, right = u, v
        return LowRank(Dense(left), Dense(right.T))

    def rounds(self, w: Tensor, r: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """U (m, r), V (n, r) and the relative loss ‖W − UVᵀ‖²/‖W‖² after every round, until converged."""
        return alternating(w, r, self.iterations, self.tolerance, self.seed)
