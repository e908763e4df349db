"""Rounding with weight update by optimal brain surgeon (Frantar et al., 2023, algorithm 1)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.base import OfInputsMethod, Prepared
from reparam_core.methods.column_rounding import ColumnRounding
from reparam_core.methods.grids import Grid, fitted, free, searched
from reparam_core.methods.hessian import inverse_factor, unused, walk_columns
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf, Quantized, Statistics
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class GPTQ(OfInputsMethod):
    """min ‖WX − W′X‖² column by column: each is rounded, the columns to its right make up for the error by H⁻¹.

    A group's grid is fitted when its first column comes up; with `act_order` the columns go by falling diag(H), and the
    grids are fitted beforehand, so that groups stay neighbours. With `clip` a grid spans the share of its group's range
    that makes Σ e²/U² least, which is what its columns lose (equation 4 of the paper); the authors' code spans all of it.
    With `free_zero` the zero point lies anywhere between codes, as HQQ's, in 16 bits instead of as many as a code has.
    """

    name: ClassVar[str] = "gptq"
    axis: ClassVar[str] = "bits"
    symmetric: ClassVar[bool] = True
    summary: ClassVar[str] = "rounds, and the rest makes up"
    formula: ClassVar[str] = r"\min_{q}\lVert WX-s(q-z)X\rVert_F^2,\\ \delta_{:,>j}=-\tfrac{e_j}{U_{jj}}U_{j,>j}"
    instant: ClassVar[bool] = False
    prepared_by: ClassVar[frozenset[str] | None] = frozenset({"damping", "act_order"})

    damping: Annotated[float, Field(gt=0)] = 0.01  # of the mean of the Hessian's diagonal
    act_order: bool = False
    clip: bool = True
    free_zero: bool = False  # not of symmetric grids, which have none

    def refuse(self, setting: BitsSetting, shape: tuple[int, int]) -> None:
        if self.free_zero and setting.symmetric:
            raise ReparamError("A symmetric grid has no zero point that could be free.",
                               "Leave out symmetric, or free_zero.")  # fmt: skip
        super().refuse(setting, shape)

    def prepare_inputs(self, statistics: Statistics) -> Prepared:
        order = self._order(statistics)
        turned = statistics.sliced(None, order)
        return {"factor": inverse_factor(turned, self.damping), "order": order, "unused": unused(statistics)}

    def _order(self, statistics: Statistics) -> Tensor:
        diagonal = statistics.gram.diagonal()
        return diagonal.argsort(descending=True, stable=True) if self.act_order else torch.arange(len(diagonal))

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Quantized:
        order, weight = prepared["order"], leaf.weight.float().clone()
        if leaf.mask is None:
            weight[:, prepared["unused"]] = 0  # what nothing multiplies need not widen a grid
        factor = prepared["factor"]
        cost = torch.empty(len(order)).scatter_(0, order, factor.diagonal().pow(-2))
        fit = free if self.free_zero else searched if self.clip else _spanning
        rounding = ColumnRounding(weight, leaf.mask, setting, cost, fit, fixed=self.act_order)
        walk_columns(weight[:, order], factor, lambda j, now: rounding.settle(int(order[j]), j, now))
        return rounding.form


def _spanning(weight: Tensor, setting: BitsSetting, _cost: Tensor) -> Grid:
    return fitted(weight, setting)
