"""4-bit NormalFloat with double quantization (QLoRA, Dettmers et al., 2023, section 3 and appendix E)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.methods.base import MatrixMethod, Prepared, shape_of
from reparam_core.methods.grids import groups_of
from reparam_core.methods.settings import BitsSetting
from reparam_core.methods.tables import looked_up, scales
from reparam_core.methods.worked import coded
from reparam_core.parametrizations import Codebook, Leaf
from reparam_core.registry import register

# Quantiles of a normal distribution, scaled to [−1, 1], with an exact zero: as the paper tabulates them.
TABLE = torch.tensor([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
])  # fmt: skip


@register
@dataclass(frozen=True)
class NF4(MatrixMethod):
    """w = s · t_q with s = max|w| of the group and t the quantiles of a normal distribution: each is used as often.

    `double`: the scales themselves take 8 bits, 256 of them under one scale.
    """

    name: ClassVar[str] = "nf4"
    axis: ClassVar[str] = "bits"
    summary: ClassVar[str] = "rounds to quantiles of a normal distribution"
    formula: ClassVar[str] = r"W'=s\,t_q,\quad s=\max|W|,\quad t_q=\Phi^{-1}\text{ at 16 even steps}"
    caches: ClassVar[bool] = False
    widths: ClassVar[tuple[int, ...]] = (4,)

    double: bool = True

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def worked(self, leaves: Mapping[str, Leaf], setting: BitsSetting) -> str:
        (leaf,) = leaves.values()
        each = f"scales of {8 if self.double else 16} bits"
        return coded(shape_of(leaf), len(TABLE), setting.group, each)

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Codebook:
        largest = groups_of(leaf.weight, setting.group).abs().amax(-1).float()
        return looked_up(leaf.weight, TABLE, scales(largest, self.double), setting.group)
