"""W as small integers with a scale and a zero point a group."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from reparam_core.parametrizations.base import Layout, Parametrization, Spec, dtype_name
from reparam_core.parametrizations.bits import pack_bits, packed_bytes, unpack_bits

PER_TENSOR = "tensor"
Group = int | str | None  # columns that share a scale; None: the whole row; "tensor": the whole matrix


def group_columns(shape: tuple[int, int], group: Group) -> int:
    """Columns that share one scale."""
    return min(group, shape[1]) if isinstance(group, int) else shape[1]


def grid_shape(shape: tuple[int, int], group: Group) -> tuple[int, int]:
    """Shape of the scales: one row a matrix row (or one in all), one column a group; the last group may be ragged."""
    columns = group_columns(shape, group)
    return (1 if group == PER_TENSOR else shape[0], -(-shape[1] // columns))


def spread(grid: Tensor, shape: tuple[int, int], group: Group) -> Tensor:
    """A value a group → a value an element: (rows, groups) → (out, in)."""
    columns = group_columns(shape, group)
    return grid.repeat_interleave(columns, dim=1)[:, : shape[1]].expand(shape)


def per_group(weight: Tensor, group: Group) -> Tensor | None:
    """W seen as (rows, groups, columns), a view, where the groups divide; None where the last one is ragged."""
    rows, groups = grid_shape((weight.shape[0], weight.shape[1]), group)
    if weight.numel() % (rows * groups) or (group != PER_TENSOR and weight.shape[1] % groups):
        return None
    if weight.shape[1] % group_columns((weight.shape[0], weight.shape[1]), group):
        return None
    return weight.reshape(rows, groups, -1)


class Quantized(Parametrization):
    """W ≈ (codes − zero) · scale; codes uint8 (out, in) below 2**bits, scale and zero (rows, groups).

    `zero` None means a symmetric grid around 2**(bits − 1), which needs no storage. With a `mask` the pruned codes are
    not stored: their place holds the zero point's nearest code and reads as exactly zero.
    """

    form = "quantized"
    file_note = "each group keeps a scale"
    memory_note = "unpacked for the dense kernel, beside the codes"

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
        zero = float(2 ** (self.bits - 1)) if self.zero is None else self.zero.float()
        scale = self.scale.float()
        grouped = per_group(self.codes, self.group)
        if grouped is not None:
            offset = zero if isinstance(zero, float) else zero.unsqueeze(-1)
            return grouped.float().sub_(offset).mul_(scale.unsqueeze(-1)).view(self.shape)
        offset = zero if isinstance(zero, float) else spread(zero, self.shape, self.group)
        return self.codes.float().sub_(offset).mul_(spread(scale, self.shape, self.group))

    def stored(self, storage: torch.dtype) -> Quantized:
        return self  # scales are float16 whatever the other floats are

    @property
    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        return {"codes": lambda: pack_bits(self.codes, self.bits)} | self.grid_tensors

    @property
    def grid_tensors(self) -> dict[str, Callable[[], Tensor]]:
        """The packed scales and zero points."""
        grid: dict[str, Callable[[], Tensor]] = {"scale": lambda: self.scale.to(self.storage)}
        zero = self.zero
        return grid if zero is None else grid | {"zero": lambda: pack_bits(zero, self.bits)}

    @property
    def grid_layout(self) -> Layout:
        """dtype and shape of the packed scales and zero points."""
        grid: Layout = {"scale": (self.storage, tuple(self.scale.shape))}
        if self.zero is None:
            return grid
        return grid | {"zero": (torch.uint8, (packed_bytes(self.zero.numel(), self.bits),))}

    @property
    def layout(self) -> Layout:
        return {"codes": (torch.uint8, (packed_bytes(self.codes.numel(), self.bits),))} | self.grid_layout

    @property
    def parameters_kept(self) -> int:
        return self.codes.numel()

    @property
    def kernel(self) -> str:
        return "dense matrix product on dequantized weights (no integer kernel yet)"

    @cached_property
    def error(self) -> float:
        """Largest rounding step, the bound that round-to-nearest keeps to."""
        return float(self.scale.float().max()) / 2

    def spec(self) -> Spec:
        return {
            "form": self.form, "shape": list(self.shape), "bits": self.bits, "group": self.group,
            "symmetric": self.zero is None, "dtype": dtype_name(self.storage),
        }  # fmt: skip

    @classmethod
    def from_packed(cls, spec: Spec, tensors: dict[str, Tensor]) -> Quantized:
        count = spec["shape"][0] * spec["shape"][1]
        return cls.from_codes(spec, tensors, unpack_bits(tensors["codes"], spec["bits"], count))

    @classmethod
    def from_codes(cls, spec: Spec, tensors: dict[str, Tensor], codes: Tensor) -> Quantized:
        """The form from its unpacked codes (flat) and its packed grid."""
        shape, group, bits = (spec["shape"][0], spec["shape"][1]), spec["group"], spec["bits"]
        rows, groups = grid_shape(shape, group)
        zero = None if spec["symmetric"] else unpack_bits(tensors["zero"], bits, rows * groups).view(rows, groups)
        return cls(codes.view(shape), tensors["scale"], zero, bits, group)
