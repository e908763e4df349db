"""Randomized range finder with power iterations (Halko, Martinsson and Tropp, 2011, algorithms 4.4 and 5.1)."""

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
class RandomizedSVD(MatrixMethod):
    """A random sketch Q of the range, then the SVD of the small QᵀW."""

    name: ClassVar[str] = "randomized-svd"
    axis: ClassVar[str] = "rank"
    summary: ClassVar[str] = "SVD of a random sketch"
    formula: ClassVar[str] = r"Q=\mathrm{orth}\big((WW^\top)^pW\Omega\big),\\ W\approx Q\,(Q^\top W)_r"
    instant: ClassVar[bool] = False
    caches: ClassVar[bool] = False

    iterations: Annotated[int, Field(ge=0)] = 2  # power iterations: each sharpens a flat spectrum
    oversampling: Annotated[int, Field(ge=0)] = 8
    seed: int = 0

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: RankSetting) -> LowRank:
        w = leaf.weight.float()
        r = setting.resolve((w.shape[0], w.shape[1]), self._spectrum(w) if setting.energy else None)
        q = self._range(w, min(r + self.oversampling, min(w.shape)))  # (m, sketch)
        a, sigma, b = torch.linalg.svd(q.T @ w, full_matrices=False)
        root = sigma[:r].sqrt()
        return LowRank(Dense((q @ a[:, :r]) * root), Dense(root[:, None] * b[:r]))

    def _range(self, w: Tensor, sketch: int) -> Tensor:
        """An orthonormal basis (m, sketch) of nearly W's range."""
        generator = torch.Generator().manual_seed(self.seed)
        q = torch.linalg.qr(w @ torch.randn(w.shape[1], sketch, generator=generator)).Q
        for _ in range(self.iterations):
            q = torch.linalg.qr(w @ torch.linalg.qr(w.T @ q).Q).Q
        return q

    @staticmethod
    def _spectrum(w: Tensor) -> Tensor:
        return torch.linalg.svdvals(w)
