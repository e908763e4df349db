"""Rounding with weight update by optimal brain surgeon (Frantar et al., 2023, algorithm 1)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import CalibratedMethod, Prepared
from reparam_core.methods.grids import Grid, fitted, searched
from reparam_core.methods.hessian import inverse_factor, unused, walk_columns
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf, Quantized, Statistics
from reparam_core.parametrizations.quantized import grid_shape, group_columns
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class GPTQ(CalibratedMethod):
    """min ‖WX − W′X‖² column by column: each is rounded, the columns to its right make up for the error by H⁻¹.

    A group's grid is fitted when its first column comes up; with `act_order` the columns go by falling diag(H), and the
    grids are fitted beforehand, so that groups stay neighbours. With `clip` a grid spans the share of its group's range
    that makes Σ e²/U² least, which is what its columns lose (equation 4 of the paper); the authors' code spans all of it.
    """

    name: ClassVar[str] = "gptq"
    axis: ClassVar[str] = "bits"
    symmetric: ClassVar[bool] = True
    summary: ClassVar[str] = "rounds, and the rest makes up"
    formula: ClassVar[str] = r"\min_{q}\lVert WX-s(q-z)X\rVert_F^2,\\ \delta_{:,>j}=-\tfrac{e_j}{U_{jj}}U_{j,>j}"
    instant: ClassVar[bool] = False

    damping: Annotated[float, Field(gt=0)] = 0.01  # of the mean of the Hessian's diagonal
    act_order: bool = False
    clip: bool = True

    def prepare_matrix(self, weight: Tensor, statistics: Statistics) -> Prepared:
        order = self._order(statistics)
        turned = Statistics(
            statistics.count, statistics.gram[order][:, order], statistics.peak[order], statistics.digest
        )
        return {"factor": inverse_factor(turned, self.damping), "order": order, "unused": unused(statistics)}

    def _order(self, statistics: Statistics) -> Tensor:
        diagonal = statistics.gram.diagonal()
        return diagonal.argsort(descending=True, stable=True) if self.act_order else torch.arange(len(diagonal))

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Quantized:
        order, weight = prepared["order"], leaf.weight.float().clone()
        if leaf.mask is None:
            weight[:, prepared["unused"]] = 0  # what nothing multiplies need not widen a grid
        factor = prepared["factor"]
        cost = torch.empty(len(order)).scatter_(0, order, factor.diagonal().pow(-2)) if self.clip else None
        rounding = _Rounding(weight, leaf.mask, setting, cost, fixed=self.act_order)
        walk_columns(weight[:, order], factor, lambda j, now: rounding.settle(int(order[j]), j, now))
        return Quantized(rounding.codes, rounding.scale, rounding.zero, setting.bits, setting.group)


class _Rounding:
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
