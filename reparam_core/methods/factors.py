"""Two thin factors out of a singular value decomposition, prepared whole and cut at any rank."""

from __future__ import annotations

from torch import Tensor

from reparam_core.methods.base import Prepared
from reparam_core.methods.settings import RankSetting
from reparam_core.parametrizations import Dense, LowRank


def factored(a: Tensor, sigma: Tensor, b: Tensor) -> Prepared:
    """A Σ^½ (m, k), σ (k) and Σ^½ Bᵀ (k, n), float32: both factors carry as much of the size. b is Bᵀ."""
    root = sigma.sqrt()
    return {"left": (a * root).float(), "sigma": sigma.float(), "right": (root[:, None] * b).float()}


def cut(prepared: Prepared, setting: RankSetting) -> LowRank:
    """The first r columns and rows. Raises ReparamError above full rank."""
    left, right = prepared["left"], prepared["right"]
    r = setting.resolve((left.shape[0], right.shape[1]), prepared["sigma"])
    return LowRank(Dense(left[:, :r]), Dense(right[:r]))
