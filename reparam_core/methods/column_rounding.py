"""Rounding column by column, while the columns that are left make up for it: what GPTQ and joint SparseGPT share."""

from __future__ import annotations

import torch
from torch import Tensor

from reparam_core.methods.grids import Grid, fitted, searched
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Quantized
from reparam_core.parametrizations.quantized import grid_shape, group_columns


class ColumnRounding:
    """The grids of one matrix and what has been rounded on them."""

    def __init__(
        self, weight: Tensor, mask: Tensor | None, setting: BitsSetting, cost: Tensor | None, fixed: bool
    ) -> None:
        self.setting, self.mask, self.shape = setting, mask, (weight.shape[0], weight.shape[1])
        self.cost = cost if cost is None or mask is None else cost * mask  # of a squared error; None: grids span all
        self.columns = group_columns(self.shape, setting.group)
        self.late = not fixed and grid_shape(self.shape, setting.group)[1] > 1  # a grid fits its group as it has become
        whole = fitted(weight, setting) if self.late else self._grid(weight, setting, self.cost)
        self.scale, self.zero = whole.scale.clone(), None if whole.zero is None else whole.zero.clone()
        self.codes = torch.empty(self.shape, dtype=torch.uint8)

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

    @staticmethod
    def _grid(weight: Tensor, setting: BitsSetting, cost: Tensor | None) -> Grid:
        return fitted(weight, setting) if cost is None else searched(weight, setting, cost)

    def _fit(self, group: int, block: Tensor) -> None:
        """To a group as it has become; its columns stand in W's order."""
        start = group * self.columns
        cost = None if self.cost is None else self.cost[..., start : start + self.columns]
        grid = self._grid(block, self.setting.model_copy(update={"group": None}), cost)
        self.scale[:, group] = grid.scale[:, 0]
        if self.zero is not None and grid.zero is not None:
            self.zero[:, group] = grid.zero[:, 0]

    def _round(self, place: int, group: int, column: Tensor) -> Tensor:
        grid = Grid(self.scale[:, group], None if self.zero is None else self.zero[:, group], self.setting.bits)
        scale, offset = grid.scale.float(), grid.offset
        codes = (column / scale + offset).round_().clamp_(grid.lowest, grid.highest)
        self.codes[:, place] = codes.to(torch.uint8)
        values = (codes - offset) * scale
        return values if self.mask is None else values * self.mask[:, place]
