"""Ternary weights (Li and Liu, 2016, equations 3 to 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.methods.base import MatrixMethod, Prepared, shape_of
from reparam_core.methods.grids import numbers_left
from reparam_core.methods.settings import BitsSetting
from reparam_core.methods.tables import scales
from reparam_core.methods.worked import coded
from reparam_core.parametrizations import Codebook, Leaf
from reparam_core.parametrizations.quantized import by_group, over_group
from reparam_core.registry import register

TABLE = torch.tensor([-1.0, 0.0, 1.0])
THRESHOLD = 0.7  # times mean|w|: the least-squares optimum of normal weights, nearly


@register
@dataclass(frozen=True)
class Ternary(MatrixMethod):
    """min ‖W − s·T‖², T ∈ {−1, 0, 1}: zero where |w| ≤ Δ = 0.7·mean|w|, s the mean |w| of the rest; 1.6 bits a number.

    Both means are of what an earlier step left of a group; where that is nothing, s is 0.
    """

    name: ClassVar[str] = "ternary"
    axis: ClassVar[str] = "bits"
    summary: ClassVar[str] = "keeps a sign or nothing"
    formula: ClassVar[str] = r"W'=s\,T,\quad T_{ij}=\mathrm{sign}(W_{ij})\,[\,|W_{ij}|>0.7\,\overline{|W|}\,]"
    caches: ClassVar[bool] = False
    widths: ClassVar[tuple[int, ...]] = (2,)

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def worked(self, leaves: Mapping[str, Leaf], setting: BitsSetting) -> str:
        (leaf,) = leaves.values()
        return coded(shape_of(leaf), len(TABLE), setting.group, "scales")

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Codebook:
        weight, group = leaf.weight.float(), setting.group
        size = numbers_left(leaf, group).abs()
        delta = THRESHOLD * size.nanmean(-1, keepdim=True).nan_to_num(0.0)
        scale = size.masked_fill(size <= delta, torch.nan).nanmean(-1).nan_to_num(0.0)
        edge = over_group(delta.squeeze(-1).expand(len(weight), -1), weight.shape, group)
        codes = 1 + by_group(weight, group).sign() * (by_group(weight, group).abs() > edge)
        return Codebook(codes.view(weight.shape).to(torch.uint8), TABLE[None], scales(scale, False), group)
