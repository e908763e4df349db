"""Uniform grids: where they lie over a group's numbers, and the nearest point of every number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf, Quantized
from reparam_core.parametrizations.quantized import PER_TENSOR, Group, by_group, group_columns, over_group, row_pieces

SMALLEST_SCALE = 2.0**-24  # float16's smallest number: a scale of zero would divide by it
FARTHEST = 1024.0  # codes from a zero point to any number: float16 still tells halves of a code apart there
ROUNDS = 5  # of codes and lines in turn
Line = tuple[Tensor, Tensor]  # scale and zero point of every group, float16 (rows, groups)
SHARES = [1 - step / 20 for step in range(11)]  # of a group's range, from all of it to half


@dataclass(frozen=True)
class Grid:
    """scale float16 and zero, each (rows, groups): a code in uint8, or float16 between codes; None: symmetric around the middle code."""

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


def free(weight: Tensor, setting: BitsSetting, importance: Tensor) -> Grid:
    """With a zero point anywhere between codes: Σ importance · (w − s(q − z))² of every group small; as `searched`.

    Over the best share of the range, then in turn the nearest codes q and the least-squares line through all (q, w).
    Numbers that weigh nothing stretch no range.
    """
    grouped, cost = (groups_of(one, setting.group) for one in (weight.float(), importance.expand_as(weight)))
    low, high = span(grouped, cost > 0)
    middle, half, highest = (low + high) / 2, (high - low) / 2, 2**setting.bits - 1
    best, least = over(low, high, highest), torch.full_like(low, torch.inf)
    for share in SHARES:
        trial = over(middle - share * half, middle + share * half, highest)
        best, least = _better(best, least, trial, grouped, cost, highest)
    for _ in range(ROUNDS):
        best, least = _better(best, least, _through(best, grouped, cost, highest), grouped, cost, highest)
    return Grid(*best, setting.bits)


def over(low: Tensor, high: Tensor, highest: int) -> Line:
    """From the one to the other, wherever zero lies.

    Numbers that lie close together and far from zero get a wider scale, lest float16 cannot hold their zero point.
    """
    least = torch.maximum(-low, high).clamp_min(SMALLEST_SCALE * FARTHEST) / FARTHEST
    scale = torch.maximum((high - low) / highest, least).half()
    return scale, (-low / scale.float()).half()


def span(grouped: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest of those that count in every group; 0 and 0 where none does."""
    low, high = grouped.masked_fill(~counted, torch.inf).amin(-1), grouped.masked_fill(~counted, -torch.inf).amax(-1)
    return low.where(low <= high, 0), high.where(low <= high, 0)


def _codes(line: Line, grouped: Tensor, highest: int) -> Tensor:
    scale, zero = (one.float().unsqueeze(-1) for one in line)
    return (grouped / scale).add_(zero).round_().clamp_(0, highest)


def _better(best: Line, least: Tensor, trial: Line, grouped: Tensor, cost: Tensor, highest: int) -> tuple[Line, Tensor]:
    """In every group the line that loses less, and what it loses."""
    scale, zero = (one.float().unsqueeze(-1) for one in trial)
    values = _codes(trial, grouped, highest).sub_(zero).mul_(scale)
    lost = values.sub_(grouped).square_().mul_(cost).sum(-1)
    better = lost < least
    found = trial[0].where(better, best[0]), trial[1].where(better, best[1])
    return found, torch.minimum(lost, least)


def _through(line: Line, grouped: Tensor, cost: Tensor, highest: int) -> Line:
    """The line of least squares through codes and numbers; where all codes are one, the line as it was."""
    codes = _codes(line, grouped, highest)
    share = cost / cost.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    code, number = ((share * one).sum(-1, keepdim=True) for one in (codes, grouped))
    slope = (share * (codes - code) * (grouped - number)).sum(-1) / (share * (codes - code).square()).sum(-1)
    scale = slope.half()
    zero = code.squeeze(-1) - number.squeeze(-1) / scale.float()
    held = (scale > 0) & (zero.abs() <= FARTHEST)  # false where either is not a number
    return scale.where(held, line[0]), zero.half().where(held, line[1])


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


def numbers_left(leaf: Leaf, group: Group) -> Tensor:
    """As `groups_of`, not a number wherever there is none to fit: where a group is filled up, and where an earlier step pruned."""
    weight = leaf.weight.float()
    return groups_of(weight if leaf.mask is None else weight.masked_fill(~leaf.mask, torch.nan), group, fill=torch.nan)


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
