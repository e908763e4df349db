"""Alternating least squares, as the textbook has it: fix V, solve for U; fix U, solve for V; until it converges."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import MatrixMethod, Prepared
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
        generator = torch.Generator().manual_seed(self.seed)
        v = torch.linalg.qr(torch.randn(w.shape[1], r, generator=generator)).Q
        total, before = float(w.square().sum()) or 1.0, float("inf")
        for _ in range(self.iterations):
            u = _least_squares(v, w.T).T  # argmin_U ‖W − UVᵀ‖
            v = _least_squares(u, w).T  # argmin_V ‖W − UVᵀ‖
            loss = float((w - u @ v.T).square().sum()) / total
            yield u, v, loss
            if before - loss <= self.tolerance * loss:
                return
            before = loss


def _least_squares(factor: Tensor, target: Tensor) -> Tensor:
    """argmin_X ‖factor · X − target‖ by QR, which squares no condition number; (m, r), (m, n) → X (r, n)."""
    q, upper = torch.linalg.qr(factor)
    ridge = (torch.finfo(upper.dtype).eps * upper.abs().max()).clamp_min(torch.finfo(upper.dtype).tiny)
    diagonal = upper.diagonal()
    diagonal.copy_(torch.where(diagonal.abs() < ridge, ridge, diagonal))  # a rank below r leaves zeros there
    return torch.linalg.solve_triangular(upper, q.T @ target, upper=True)
