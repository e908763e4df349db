"""Which numbers of a matrix go, by a score: shares of a row, and patterns such as two of every four."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.base import Method, shape_of
from reparam_core.methods.settings import SparsitySetting
from reparam_core.methods.worked import zeros
from reparam_core.parametrizations import Dense, Leaf, Sparse

Scores = NDArray[np.float32]


def lowest_of_rows(scores: Tensor, count: int) -> Tensor:
    """True at the `count` lowest of every row, ties by index; scores (out, in)."""
    gone = np.zeros(tuple(scores.shape), dtype=np.bool_)
    if count:
        values: Scores = scores.numpy()
        edge = np.partition(values, count - 1, axis=1)[:, count - 1 : count]
        gone = values <= edge
        for row in np.flatnonzero(np.count_nonzero(gone, axis=1) > count):
            tied = np.flatnonzero(values[row] == edge[row])
            gone[row, tied[count - np.count_nonzero(values[row] < edge[row]) :]] = False
    return torch.from_numpy(gone)


class ByScore(Method):
    """A method that prunes by a score of its own."""

    def refuse(self, setting: SparsitySetting, shape: tuple[int, int]) -> None:
        if setting.threshold is not None:
            raise ReparamError(f"{self.name} prunes by a score of its own, which no threshold on the weights cuts.",
                               f"Give a fraction or a pattern, as in {self.name}:0.5 or {self.name}:2:4.")  # fmt: skip
        super().refuse(setting, shape)

    def worked(self, leaves: Mapping[str, Leaf], setting: SparsitySetting) -> str:
        if setting.fraction is None or setting.block is not None:
            return super().worked(leaves, setting)
        rows, columns = shape_of(next(iter(leaves.values())))
        each = int(setting.fraction * columns)
        return f"{zeros(rows * each, rows * columns)}, {each:,} of a row's {columns:,}"


def outside_pattern(scores: Tensor, kept: int, of: int) -> Tensor:
    """True at all but the `kept` highest of every `of` neighbours in a row, ties by index.

    A ragged last group keeps as many, where it has them.
    A number's place in its group is how many of the group beat it: `of`² comparisons, and no sort.
    """
    rows, columns = scores.shape
    ragged = -columns % of
    values: Scores = (
        np.pad(scores.numpy(), ((0, 0), (0, ragged)), constant_values=-np.inf) if ragged else scores.numpy()
    )
    groups = [np.ascontiguousarray(values[:, place::of]) for place in range(of)]
    gone = np.empty((rows, columns + ragged), dtype=np.bool_)
    for place, one in enumerate(groups):
        beaten = np.zeros(one.shape, dtype=np.uint8)
        for other, values_there in enumerate(groups):
            beaten += values_there >= one if other < place else values_there > one
        gone[:, place::of] = beaten >= kept
    return torch.from_numpy(gone[:, :columns])


def lowest_blocks(losses: Tensor, fraction: float, side: int) -> Tensor:
    """True in floor(fraction · blocks) of the squares of that side, those that lose least in all, ties by index.

    losses (out, in); the last squares of a row or column are as wide as what is left.
    """
    rows, columns = losses.shape
    padded = torch.nn.functional.pad(losses.double(), (0, -columns % side, 0, -rows % side))
    down, across = padded.shape[0] // side, padded.shape[1] // side
    sums = padded.view(down, side, across, side).sum((1, 3)).reshape(-1)
    gone = torch.zeros(len(sums), dtype=torch.bool)
    gone[sums.argsort(stable=True)[: int(fraction * len(sums))]] = True
    spread = gone.view(down, 1, across, 1).expand(down, side, across, side)
    return spread.reshape(padded.shape)[:rows, :columns]


def gone_by(scores: Tensor, setting: SparsitySetting) -> Tensor:
    """True where pruned: floor(fraction · columns) of every row, that share of blocks, or all but a pattern."""
    if setting.kept_of is not None:
        return outside_pattern(scores, *setting.kept_of)
    if setting.block is not None:
        return lowest_blocks(scores.square(), setting.fraction or 0, setting.block)
    return lowest_of_rows(scores, int((setting.fraction or 0) * scores.shape[1]))


def pruned(leaf: Leaf, gone: Tensor) -> Sparse:
    """The leaf's weight without what is gone and without what an earlier step took."""
    kept = ~gone if leaf.mask is None else leaf.mask & ~gone
    values = leaf.weight * kept  # a quarter of what masked_fill takes
    return Sparse(None, Dense(values, leaf.storage), int(np.count_nonzero(values.numpy())))
