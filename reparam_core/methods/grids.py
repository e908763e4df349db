"""Uniform grids: where they lie over a group's numbers, and the nearest point of every number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Quantized
from reparam_core.parametrizations.quantized import PER_TENSOR, Group, by_group, group_columns, over_group, row_pieces

SMALLEST_SCALE = 2.0**-24  # float16's smallest number: a scale of zero would divide by it
SHARES = [1 - step / 20 for step in range(11)]  # of a group's range, from all of it to half


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
    return _between(*_extremes(weight, setting), setting)


def searched(weight: Tensor, setting: BitsSetting, importance: Tensor) -> Grid:
    """Over the share of every group's range that makes Σ importance · (w − w′)² of that group least; importance (in) or (out, in)."""
    low, high = _extremes(weight, setting)
    best, least = torch.ones_like(low), torch.full_like(low, torch.inf)
    for share in SHARES:
        grid = _between(low * share, high * share, setting)
        form = Quantized(nearest(weight, grid, setting), grid.scale, grid.zero, setting.bits, setting.group)
        lost = groups_of((weight - form.dense()).square_().mul_(importance), setting.group).sum(-1)
        best, least = torch.where(lost < least, share, best), torch.minimum(lost, least)
    return _between(low * best, high * best, setting)


def _between(low: Tensor, high: Tensor, setting: BitsSetting) -> Grid:
    """The grids over these ranges, each (rows, groups)."""
    if setting.symmetric:
        scale = torch.maximum(-low, high) / (2 ** (setting.bits - 1) - 1)
        return Grid(scale.clamp_min(SMALLEST_SCALE).half(), None, setting.bits)
    scale = ((high - low) / (2**setting.bits - 1)).clamp_min(SMALLEST_SCALE).half()
    zero = (-low / scale.float()).round_().clamp_(0, 2**setting.bits - 1).to(torch.uint8)
    return Grid(scale, zero, setting.bits)


def _extremes(weight: Tensor, setting: BitsSetting) -> tuple[Tensor, Tensor]:
    """Smallest and largest number of every group and zero, each (rows, groups), float32."""
    grouped = groups_of(weight, setting.group)  # filled up with zeros, which the extremes include anyway
    low, high = grouped.amin(-1), grouped.amax(-1)  # apart they take half as long as aminmax
    return low.float().clamp_max_(0), high.float().clamp_min_(0)


def groups_of(weight: Tensor, group: Group, fill: float = 0.0) -> Tensor:
    """(grid rows, groups, numbers) of W, a ragged last group filled up; one matrix is one grid row of one group."""
    if group == PER_TENSOR:
        return weight.reshape(1, 1, -1)
    columns = group_columns((weight.shape[0], weight.shape[1]), group)
    ragged = -weight.shape[1] % columns
    return (pad(weight, (0, ragged), value=fill) if ragged else weight).unflatten(1, (-1, columns))


def rounded(weight: Tensor, setting: BitsSetting) -> Quantized:
    """The nearest points of the fitted grids, with those."""
    grid = fitted(weight, setting)
    return Quantized(nearest(weight, grid, setting), grid.scale, grid.zero, setting.bits, setting.group)


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
