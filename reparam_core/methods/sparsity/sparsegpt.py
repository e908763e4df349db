"""Pruning with weight update by optimal brain surgeon, block by block (Frantar and Alistarh, 2023, algorithm 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.base import OfInputsMethod, Prepared, shape_of
from reparam_core.methods.column_rounding import ColumnRounding
from reparam_core.methods.hessian import BLOCK, inverse_factor, unused, walk_columns
from reparam_core.methods.patterns import ByScore, lowest_blocks, outside_pattern, pruned
from reparam_core.methods.settings import UNROUNDED, BitsSetting, SparsitySetting
from reparam_core.methods.worked import squares, squares_in, zeros
from reparam_core.parametrizations import Leaf, Sparse, Statistics
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class SparseGPT(ByScore, OfInputsMethod):
    """min ‖WX − W′X‖² column by column: of 128 columns go the least w² / [H⁻¹]_jj², the columns to the right make up for it.

    With `kept_bits` below 16 what is kept is rounded in the same walk, as GPTQ does (the paper's section 3.5): the columns
    to the right make up for both errors at once.

    What an earlier step pruned goes in the same walk, whatever it has become, and counts among what goes.
    """

    name: ClassVar[str] = "sparsegpt"
    axis: ClassVar[str] = "sparsity"
    summary: ClassVar[str] = "prunes, and the rest makes up"
    formula: ClassVar[str] = (
        r"\min_{W'}\lVert WX-W'X\rVert_F^2"
        r",\\ W'_{ij}=0\text{ at the least }w_{ij}^2/[H^{-1}]_{jj}^2"
    )
    instant: ClassVar[bool] = False
    prepared_by: ClassVar[frozenset[str] | None] = frozenset({"damping"})

    damping: Annotated[float, Field(gt=0)] = 0.01  # of the mean of the Hessian's diagonal
    kept_bits: Literal[2, 3, 4, 5, 6, 7, 8, 16] = UNROUNDED
    kept_group: Annotated[int, Field(ge=1)] = 64

    def prepare_inputs(self, statistics: Statistics) -> Prepared:
        return {"factor": inverse_factor(statistics, self.damping), "unused": unused(statistics)}

    def refuse(self, setting: SparsitySetting, shape: tuple[int, int]) -> None:
        if setting.block is not None and BLOCK % setting.block:
            raise ReparamError(f"sparsegpt goes by {BLOCK} columns at a time, into which blocks of {setting.block} do not fit.",
                               f"Take blocks whose side divides {BLOCK}, as in sparsegpt:0.5b16.")  # fmt: skip
        super().refuse(setting, shape)

    def worked(self, leaves: Mapping[str, Leaf], setting: SparsitySetting) -> str:
        rounded = "" if self.kept_bits == UNROUNDED else f"; the others in {self.kept_bits} bits"
        if setting.fraction is None:
            return super().worked(leaves, setting) + rounded
        rows, columns = shape_of(next(iter(leaves.values())))
        side = setting.block or 1
        blocks = [squares_in((rows, min(BLOCK, columns - start)), side) for start in range(0, columns, BLOCK)]
        gone = sum(int(setting.fraction * count) for count in blocks)
        told = zeros(gone, rows * columns) if side == 1 else squares(gone, sum(blocks), side)
        return f"{told}, the same share of every {min(BLOCK, columns)} columns{rounded}"

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: SparsitySetting) -> Sparse:
        weight = leaf.weight.float().clone()
        if setting.fraction != 0:
            weight[:, prepared["unused"]] = 0
        factor = prepared["factor"]
        gone = _Gone(leaf, factor.diagonal(), setting)
        if self.kept_bits == UNROUNDED:
            settled = walk_columns(weight, factor, gone.settle, gone.begin)
            return pruned(Leaf(leaf.path, settled), settled == 0)  # no longer rounded to what the file keeps
        kept = BitsSetting(bits=self.kept_bits, group=self.kept_group)
        rounding = ColumnRounding(weight, leaf.mask, kept, factor.diagonal().pow(-2))

        def settle(j: int, now: Tensor) -> Tensor:
            gone.settle(j, now)
            return rounding.settle(j, j, now).masked_fill(gone.mask[:, j], 0)

        walk_columns(weight, factor, settle, gone.begin)
        return Sparse(~gone.mask, rounding.form)


class _Gone:
    """Which numbers go beside those that went before, decided block by block or group by group from what they have become."""

    def __init__(self, leaf: Leaf, pivots: Tensor, setting: SparsitySetting) -> None:
        self.pivots, self.setting = pivots, setting
        self.mask = torch.zeros(leaf.weight.shape, dtype=torch.bool) if leaf.mask is None else ~leaf.mask

    def begin(self, start: int, end: int, now: Tensor) -> None:
        """A block's share of least loss, by numbers or by squares; a pattern waits for its groups."""
        if self.setting.fraction:
            columns = slice(start, end)
            losses = self._losses(columns, now)
            self.mask[:, columns] |= lowest_blocks(losses, self.setting.fraction, self.setting.block or 1)

    def settle(self, j: int, now: Tensor) -> Tensor:
        """The column with zeros where it is pruned."""
        pattern = self.setting.kept_of
        if pattern is not None and j % pattern[1] == 0:
            group = slice(j, j + pattern[1])
            self.mask[:, group] |= outside_pattern(self._losses(group, now), *pattern)
        return now[:, j].masked_fill(self.mask[:, j], 0)

    def _losses(self, columns: slice, now: Tensor) -> Tensor:
        """w² / [H⁻¹]_jj², up to a factor of two the output's loss; nothing more where it is gone already."""
        return (now[:, columns] / self.pivots[columns]).square().masked_fill(self.mask[:, columns], 0)
