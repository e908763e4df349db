"""Outlier-weighed layerwise sparsity (Yin et al., 2023, OWL): layers with more outliers are pruned less."""

from collections.abc import Generator, Mapping
from typing import ClassVar

import torch

from reparam_core.methods.base import Method, statistics_of
from reparam_core.methods.settings import SparsitySetting
from reparam_core.parametrizations import Leaf
from reparam_core.registry import register_split
from reparam_core.roles import layer_of
from reparam_core.splits.base import Prepared, Split

OUTLIER = 5.0  # times the layer's mean score, the authors' M
WIDTH = 0.08  # how far a layer's sparsity may lie from the whole's, the authors' λ


@register_split
class Outliers(Split):
    """s_l = s − 2λ (D_l − mean D) / (max D − min D): D_l is the share of layer l's scores |W_ij|·‖x_j‖ above M times their mean.

    Means are over numbers, so that the whole is as sparse as asked; where all layers are alike it is uniform.
    """

    name: ClassVar[str] = "outliers"
    axes: ClassVar[tuple[str, ...]] = ("sparsity",)
    summary: ClassVar[str] = "prunes layers with outliers less"
    formula: ClassVar[str] = (
        r"s_l=s-2\lambda\,\frac{D_l-\overline D}{\max D-\min D}"
        r",\\ D_l=\Pr\big(|W_{ij}|\,\lVert x_j\rVert>5\cdot\text{mean}\big)"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"gram"})

    def settings(
        self, method: Method, setting: SparsitySetting, leaves: Mapping[str, Leaf], prepared: Prepared
    ) -> Generator[float, None, dict[str, SparsitySetting]]:
        fraction = setting.fraction or 0.0
        layers: dict[str, list[str]] = {}
        for role in leaves:
            layers.setdefault(layer_of(role), []).append(role)
        found = list[float]()
        for roles in layers.values():
            yield len(found) / len(layers)
            found.append(_outlier_ratio([leaves[role] for role in roles]))
        ratios = torch.tensor(found)
        sizes = torch.tensor(
            [float(sum(leaves[role].weight.numel() for role in roles)) for roles in layers.values()]
        ).double()
        apart = ratios.double() - (ratios * sizes).sum() / sizes.sum()
        spread = float(ratios.max() - ratios.min())
        shares = fraction - (2 * WIDTH * apart / spread if spread else torch.zeros_like(apart))
        kept = _within(shares, sizes, fraction)
        return {role: SparsitySetting(fraction=share)
                for roles, share in zip(layers.values(), kept.tolist(), strict=True) for role in roles}  # fmt: skip


def _within(shares: torch.Tensor, sizes: torch.Tensor, fraction: float) -> torch.Tensor:
    """Shares from 0 to below 1 whose mean over numbers is the fraction asked: the spread shrinks where it would leave that."""
    apart, most = shares - fraction, max(0.99, fraction)
    room = torch.where(apart > 0, (most - fraction) / apart.clamp_min(1e-12), fraction / (-apart).clamp_min(1e-12))
    return (fraction + apart * min(1.0, float(room.clamp_min(0).min()))).clamp(0.0, most)


def _outlier_ratio(leaves: list[Leaf]) -> float:
    """The share of a layer's scores that lie far above their mean."""
    scores = [leaf.weight.abs() * statistics_of(leaf).norms for leaf in leaves]
    count = sum(one.numel() for one in scores)
    limit = OUTLIER * sum(float(one.sum()) for one in scores) / count
    return sum(int((one > limit).sum()) for one in scores) / count
