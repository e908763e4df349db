"""Rank where it buys most energy: ranks by marginal gain instead of the same share everywhere."""

from collections.abc import Generator, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.methods.base import Method, shape_of
from reparam_core.methods.settings import RankSetting
from reparam_core.parametrizations import Leaf
from reparam_core.registry import register_split
from reparam_core.splits.base import Prepared, Split


@register_split
class Energy(Split):
    """Minimises Σ_i Σ_{j>r_i} σ_ij² / ‖σ_i‖² at the numbers that the one setting would keep.

    Singular values fall, so that taking the best gain a number first is optimal but for the last step (each rank of matrix
    i costs m_i + n_i numbers). σ is what the method itself truncates: of a whitened method the loss is that of the output.
    No rank goes beyond break-even, where the factors hold more than the matrix.
    """

    name: ClassVar[str] = "energy"
    axes: ClassVar[tuple[str, ...]] = ("rank",)
    summary: ClassVar[str] = "more rank where it keeps most energy"
    formula: ClassVar[str] = (
        r"\min_{r_i}\sum_i\sum_{j>r_i}\frac{\sigma_{ij}^2}{\lVert\sigma_i\rVert^2}"
        r"\quad\text{with}\quad\sum_i r_i(m_i+n_i)\text{ as before}"
    )

    def unsuited(self, method: Method) -> str | None:
        lacking = None if method.singular_values else "it has no singular values to split by"
        return super().unsuited(method) or lacking

    def reads_prepared(self, method: Method) -> bool:
        return True

    def settings(
        self, method: Method, setting: RankSetting, leaves: Mapping[str, Leaf], prepared: Prepared
    ) -> Generator[float, None, dict[str, RankSetting]]:
        shapes = {role: shape_of(leaf) for role, leaf in leaves.items()}
        budget = sum(setting.resolve(shape) * sum(shape) for shape in shapes.values())
        gains, costs, owners = [], [], []
        for index, (role, shape) in enumerate(shapes.items()):
            yield index / len(shapes)
            gain = _gains(prepared(role)["sigma"], shape)
            gains.append(gain)
            costs.append(torch.full_like(gain, sum(shape), dtype=torch.int64))
            owners.append(torch.full_like(gain, index, dtype=torch.int64))
        order = torch.cat(gains).argsort(descending=True, stable=True)
        affordable = order[torch.cat(costs)[order].cumsum(0) <= budget]
        ranks = torch.cat(owners)[affordable].bincount(minlength=len(shapes)).clamp_min(1)
        return {role: RankSetting(rank=rank) for role, rank in zip(shapes, ranks.tolist(), strict=True)}


def _gains(sigma: Tensor, shape: tuple[int, int]) -> Tensor:
    """Energy a number that each further rank keeps, up to break-even; float64, never rising."""
    energy = sigma.double().square()
    most = max(1, shape[0] * shape[1] // sum(shape))
    return (energy / energy.sum().clamp_min(1e-300) / sum(shape))[:most]
