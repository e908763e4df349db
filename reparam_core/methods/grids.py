"""Uniform grids: where they lie over a group's numbers, and the nearest point of every number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations.quantized import PER_TENSOR, by_group, group_columns, over_group, row_pieces

SMALLEST_SCALE = 2.0**-24  # float16's smallest number: a scale of zero would divide by it


@dataclass(frozen=True)
class Grid:
    """scale float16 and zero uint8, each (rows, groups); a zero of None is a symmetric grid around its middle code."""

    scale: Tensor
    zero: Tensor | None
    bits: int

    @property
    def offset(self) -> Tensor:
        """The code that reads as zero, float32."""
        return torch.full_like(self.scale, 2 ** (self.bits - 1)).float() if self.zero is None else self.zero.float()

    @property
    def lowest(self) -> int:
        """The least code in use: a symmetric grid leaves its odd end unused."""
        return 1 if self.zero is None else 0

    @property
    def highest(self) -> int:
        """The greatest code."""
        return 2**self.bits - 1


def fitted(weight: Tensor, setting: BitsSetting) -> Grid:
    """From the least to the greatest number of every group, zero always between; weight (out, in)."""
    low, high = _extremes(weight, setting)
    if setting.symmetric:
        scale = torch.maximum(-low, high) / (2 ** (setting.bits - 1) - 1)
        return Grid(scale.clamp_min(SMALLEST_SCALE).half(), None, setting.bits)
    scale = ((high - low) / (2**setting.bits - 1)).clamp_min(SMALLEST_SCALE).half()
    zero = (-low / scale.float()).round_().clamp_(0, 2**setting.bits - 1).to(torch.uint8)
    return Grid(scale, zero, setting.bits)


def _extremes(weight: Tensor, setting: BitsSetting) -> tuple[Tensor, Tensor]:
    """Smallest and largest number of every group and zero, each (rows, groups), float32."""
    columns = group_columns((weight.shape[0], weight.shape[1]), setting.group)
    ragged = -weight.shape[1] % columns  # filled up with zeros, which the extremes include anyway
    grouped = (pad(weight, (0, ragged)) if ragged else weight).unflatten(1, (-1, columns))
    low, high = grouped.amin(-1), grouped.amax(-1)  # apart they take half as long as aminmax
    if setting.group == PER_TENSOR:
        low, high = low.amin(0, keepdim=True), high.amax(0, keepdim=True)
    return low.float().clamp_max_(0), high.float().clamp_min_(0)


def nearest(weight: Tensor, grid: Grid, setting: BitsSetting) -> Tensor:
    """The nearest grid point of every number, uint8 (out, in).

    Single passes: torch's addcmul takes three times as long as a product and a sum, float to uint8 twice as long as
    over int32.
    """
    inverse, offset = (one.expand(weight.shape[0], -1) for one in (grid.scale.float().reciprocal(), grid.offset))
    codes = torch.empty(weight.shape, dtype=torch.uint8)
    for rows in row_pieces((weight.shape[0], weight.shape[1])):
        shape, piece = weight[rows].shape, by_group(weight[rows].float(), setting.group)
        q = piece * over_group(inverse[rows], shape, setting.group)
        q.add_(over_group(offset[rows], shape, setting.group)).round_().clamp_(grid.lowest, grid.highest)
        codes[rows] = q.view(shape).to(torch.int32)
    return codes
