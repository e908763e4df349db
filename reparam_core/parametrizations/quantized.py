"""W as small integers with a scale and a zero point a group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from reparam_core.parametrizations.base import Layout, Spec, dtype_name
from reparam_core.parametrizations.bits import pack_bits, packed_bytes, unpack_bits
from reparam_core.parametrizations.coded import Coded

PER_TENSOR = "tensor"
PIECE = 2**18  # numbers
Group = int | str | None  # columns that share a scale; None: the whole row; "tensor": the whole matrix


def group_columns(shape: tuple[int, int], group: Group) -> int:
    """Columns that share one scale."""
    return min(group, shape[1]) if isinstance(group, int) else shape[1]


def grid_shape(shape: tuple[int, int], group: Group) -> tuple[int, int]:
    """Shape of the scales: one row a matrix row (or one in all), one column a group; the last group may be ragged."""
    columns = group_columns(shape, group)
    return (1 if group == PER_TENSOR else shape[0], -(-shape[1] // columns))


def by_group(rows: Tensor, group: Group) -> Tensor:
    """Some rows of W seen as (rows, groups, columns), a view; as they are where the last group is ragged."""
    columns = group_columns((rows.shape[0], rows.shape[1]), group)
    return rows if rows.shape[1] % columns else rows.unflatten(1, (-1, columns))


def over_group(grid: Tensor, shape: tuple[int, ...], group: Group) -> Tensor:
    """A value a group (rows, groups), so that it meets what `by_group` makes of rows of that shape."""
    columns = group_columns((shape[0], shape[1]), group)
    return grid.repeat_interleave(columns, 1)[:, : shape[1]] if shape[1] % columns else grid.unsqueeze(-1)


def row_pieces(shape: tuple[int, int]) -> Iterator[slice]:
    """Rows that are worked on together, so few that every pass after the first finds them in the processor's cache."""
    rows = max(1, PIECE // shape[1])
    return (slice(start, start + rows) for start in range(0, shape[0], rows))


class Quantized(Coded):
    """W ≈ (codes − zero) · scale; codes uint8 (out, in) below 2**bits, scale and zero (rows, groups).

    `zero` is a code, uint8 and packed like one, or a float16 that lies between codes. `zero` None means a symmetric grid around 2**(bits − 1), which needs no storage. With a `mask` the pruned codes are
    not stored: their place reads as exactly zero.
    """

    form = "quantized"
    file_note = "each group keeps a scale"

    def __init__(
        self,
        codes: Tensor,
        scale: Tensor,
        zero: Tensor | None,
        bits: int,
        group: Group,
        storage: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.codes, self.scale, self.zero, self.bits, self.group = codes, scale, zero, bits, group
        self.storage = storage or scale.dtype
        self.shape = (codes.shape[0], codes.shape[1])

    def dense(self) -> Tensor:
        whole = torch.empty(self.shape)
        scale, zero = self.scale.float().expand(self.shape[0], -1), self._offset().expand(self.shape[0], -1)
        for rows in row_pieces(self.shape):
            shape = whole[rows].shape
            piece = by_group(whole[rows].copy_(self.codes[rows]), self.group)
            piece.sub_(over_group(zero[rows], shape, self.group)).mul_(over_group(scale[rows], shape, self.group))
        return whole

    def _offset(self) -> Tensor:
        """The code that reads as zero, float32 (rows, groups)."""
        return torch.full_like(self.scale, 2 ** (self.bits - 1)).float() if self.zero is None else self.zero.float()

    @property
    def levels(self) -> int:
        return int(2**self.bits)

    @property
    def grid_tensors(self) -> dict[str, Callable[[], Tensor]]:
        grid: dict[str, Callable[[], Tensor]] = {"scale": lambda: self.scale.to(self.storage)}
        zero = self.zero
        if zero is None:
            return grid
        return grid | {"zero": lambda: zero if zero.is_floating_point() else pack_bits(zero, self.bits)}

    @property
    def grid_layout(self) -> Layout:
        grid: Layout = {"scale": (self.storage, tuple(self.scale.shape))}
        if self.zero is None:
            return grid
        if self.zero.is_floating_point():
            return grid | {"zero": (self.zero.dtype, tuple(self.zero.shape))}
        return grid | {"zero": (torch.uint8, (packed_bytes(self.zero.numel(), self.bits),))}

    @cached_property
    def error(self) -> float:
        """Largest rounding step, the bound that round-to-nearest keeps to."""
        return float(self.scale.float().max()) / 2

    def spec(self) -> Spec:
        return {
            "form": self.form, "shape": list(self.shape), "bits": self.bits, "levels": self.levels, "group": self.group,
            "symmetric": self.zero is None, "dtype": dtype_name(self.storage),
        }  # fmt: skip

    @classmethod
    def from_codes(cls, spec: Spec, tensors: dict[str, Tensor], codes: Tensor) -> Self:
        shape, group, bits = (spec["shape"][0], spec["shape"][1]), spec["group"], spec["bits"]
        rows, groups = grid_shape(shape, group)
        zero = None if spec["symmetric"] else tensors["zero"]
        if zero is not None and not zero.is_floating_point():
            zero = unpack_bits(zero, bits, rows * groups).view(rows, groups)
        return cls(codes.view(shape), tensors["scale"], zero, bits, group)
