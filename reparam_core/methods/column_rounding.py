"""Rounding column by column, while the columns that are left make up for it: what GPTQ and joint SparseGPT share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reparam_core.methods.grids import Grid, searched
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Quantized
from reparam_core.parametrizations.quantized import grid_shape, group_columns

Fit = Callable[[Tensor, BitsSetting, Tensor], Grid]  # to W, by what a squared error costs, (in) or (out, in)


class ColumnRounding:
    """The grids of one matrix and what has been rounded on them."""

    def __init__(
        self,
        weight: Tensor,
        mask: Tensor | None,
        setting: BitsSetting,
        cost: Tensor,
        fit: Fit = searched,
        fixed: bool = False,
    ) -> None:
        self.setting, self.mask, self.shape, self.fit = setting, mask, (weight.shape[0], weight.shape[1]), fit
        self.cost = cost if mask is None else cost * mask  # of a squared error of each number
        self.columns = group_columns(self.shape, setting.group)
        self.zero: Tensor | None = None
        self.scale = torch.empty(grid_shape(self.shape, setting.group), dtype=torch.float16)
        self.codes = torch.empty(self.shape, dtype=torch.uint8)
        self.late = not fixed and self.scale.shape[1] > 1  # a grid fits its group as it has become
        if not self.late:
            self._put(slice(None), fit(weight, setting, self.cost))

    @property
    def form(self) -> Quantized:
        """What has been rounded."""
        return Quantized(self.codes, self.scale, self.zero, self.setting.bits, self.setting.group)

    def settle(self, place: int, j: int, now: Tensor) -> Tensor:
        """The column of W at that place, j-th of those that are walked, as it reads once rounded."""
        group = place // self.columns
        if self.late and place % self.columns == 0:
            self._fit(group, now[:, j : j + self.columns])
        return self._round(place, group, now[:, j])

    def _fit(self, group: int, block: Tensor) -> None:
        """To what is left of a group, as it has become; its columns stand in W's order."""
        columns = slice(group * self.columns, (group + 1) * self.columns)
        cost, left = self.cost[..., columns], block if self.mask is None else block * self.mask[:, columns]
        grid = self.fit(left, self.setting.model_copy(update={"group": None}), cost)
        self._put(slice(group, group + 1), grid)

    def _put(self, groups: slice, grid: Grid) -> None:
        self.scale[:, groups] = grid.scale
        if grid.zero is not None:
            if self.zero is None:
                self.zero = torch.empty(self.scale.shape, dtype=grid.zero.dtype)
            self.zero[:, groups] = grid.zero

    def _round(self, place: int, group: int, column: Tensor) -> Tensor:
        grid = Grid(self.scale[:, group], None if self.zero is None else self.zero[:, group], self.setting.bits)
        scale, offset = grid.scale.float(), grid.offset
        codes = (column / scale + offset).round_().clamp_(grid.lowest, grid.highest)
        self.codes[:, place] = codes.to(torch.uint8)
        values = (codes - offset) * scale
        return values if self.mask is None else values * self.mask[:, place]
