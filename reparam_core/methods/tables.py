"""Rounding to a table of values under a scale a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reparam_core.methods.grids import SMALLEST_SCALE, rounded
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Codebook, Dense, Parametrization
from reparam_core.parametrizations.quantized import PER_TENSOR, Group, by_group, over_group, row_pieces

SCALES_TOGETHER = 256  # whose own scale is shared, where scales are quantized too (Dettmers et al., 2023)


def scales(values: Tensor, quantized: bool) -> Parametrization:
    """(grid rows, groups) as a form of one row: float16, or 8 bits with a scale for every 256 of them."""
    row = values.reshape(1, -1)
    if not quantized:
        return Dense(row.clamp_min(SMALLEST_SCALE).half())
    return rounded(row, BitsSetting(bits=8, group=SCALES_TOGETHER))


def looked_up(weight: Tensor, table: Tensor, scale: Parametrization, group: Group) -> Codebook:
    """Every number's nearest entry of a rising table (levels,) once it is divided by its group's scale as it is kept."""
    own = scale.dense().view(1 if group == PER_TENSOR else len(weight), -1)
    inverse = own.clamp_min(SMALLEST_SCALE).reciprocal().expand(len(weight), -1)
    edges = ((table[1:] + table[:-1]) / 2).tolist()
    codes = torch.empty(weight.shape, dtype=torch.uint8)
    for rows in row_pieces((weight.shape[0], weight.shape[1])):
        shape = weight[rows].shape
        scaled = by_group(weight[rows].float(), group) * over_group(inverse[rows], shape, group)
        _count_below(scaled.view(shape).numpy(), edges, codes[rows].numpy())
    return Codebook(codes, table[None], scale, group)


def _count_below(values: NDArray[np.float32], edges: Sequence[float], counts: NDArray[np.uint8]) -> None:
    """How many edges each value lies above: for the few of a small table an eighth of what bisection takes (torch's bucketize)."""
    counts[:], above = 0, np.empty(values.shape, np.bool_)
    for edge in edges:
        counts += np.greater(values, np.float32(edge), out=above)


def lloyd(values: Tensor, levels: int, iterations: int) -> Tensor:
    """The 1-D k-means of these numbers: a rising table (levels,); from a linear start (Han et al., 2016, section 3.2)."""
    ordered = np.sort(values.reshape(-1).double().numpy())
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    table = np.linspace(ordered[0], ordered[-1], levels)
    for _ in range(iterations):
        cuts = np.concatenate([[0], np.searchsorted(ordered, (table[1:] + table[:-1]) / 2), [len(ordered)]])
        counts = np.diff(cuts)
        moved = np.where(counts > 0, np.diff(sums[cuts]) / np.maximum(counts, 1), table)
        if np.array_equal(moved, table):
            break
        table = moved
    return torch.from_numpy(table).float()
