"""Low rank plus sparse by alternating projections (GoDec, Zhou and Tao, 2011, equation 5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import MatrixMethod, Prepared, shape_of
from reparam_core.methods.settings import RankSetting
from reparam_core.methods.worked import factors
from reparam_core.parametrizations import Dense, Leaf, LowRank, Sparse, Sum
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class LowRankSparse(MatrixMethod):
    """min ‖W − UVᵀ − S‖_F: the best rank r of W − S, then S the largest share of what that leaves, by turns."""

    name: ClassVar[str] = "low-rank-sparse"
    axis: ClassVar[str] = "rank"
    summary: ClassVar[str] = "two factors beside a few numbers"
    formula: ClassVar[str] = r"\min_{U,V,S}\lVert W-UV^\top-S\rVert_F^2"
    instant: ClassVar[bool] = False
    caches: ClassVar[bool] = False

    kept: Annotated[float, Field(gt=0, lt=1)] = 0.05  # share of numbers that S keeps
    iterations: Annotated[int, Field(ge=1)] = 5

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def worked(self, leaves: Mapping[str, Leaf], setting: RankSetting) -> str:
        rows, columns = shape_of(next(iter(leaves.values())))
        return f"UVᵀ: {factors((rows, columns), setting)}; S keeps {self._count(rows * columns):,} of mn = {rows * columns:,}"

    def _count(self, numbers: int) -> int:
        """How many of them S keeps."""
        return max(1, int(self.kept * numbers))

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: RankSetting) -> Sum:
        w = leaf.weight.float()
        count = self._count(w.numel())
        sparse = torch.zeros_like(w)
        for _ in range(self.iterations):
            a, sigma, b = torch.linalg.svd(w - sparse, full_matrices=False)
            r = setting.resolve((w.shape[0], w.shape[1]), sigma)
            root = sigma[:r].sqrt()
            left, right = a[:, :r] * root, root[:, None] * b[:r]
            rest = w - left @ right
            sparse = torch.zeros_like(w)
            largest = rest.abs().reshape(-1).topk(count).indices
            sparse.view(-1)[largest] = rest.reshape(-1)[largest]
        return Sum([LowRank(Dense(left), Dense(right)), Sparse(None, Dense(sparse), int(sparse.count_nonzero()))])
