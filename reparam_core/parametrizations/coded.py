"""What forms made of small integers share: codes that are packed, and a grid that says what a code means."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from reparam_core.parametrizations.base import Layout, Parametrization, Spec
from reparam_core.parametrizations.bits import pack_codes, packed_codes_bytes, unpack_codes


class Coded(Parametrization):
    """codes uint8 (out, in) below `levels`."""

    memory_note = "unpacked for the dense kernel, beside the codes"
    codes: Tensor

    @property
    @abstractmethod
    def levels(self) -> int:
        """How many codes there are."""

    @property
    @abstractmethod
    def grid_tensors(self) -> dict[str, Callable[[], Tensor]]:
        """The packed tensors that say what a code means."""

    @property
    @abstractmethod
    def grid_layout(self) -> Layout:
        """dtype and shape of those."""

    @classmethod
    @abstractmethod
    def from_codes(cls, spec: Spec, tensors: dict[str, Tensor], codes: Tensor) -> Self:
        """The form from its unpacked codes (flat) and its packed grid."""

    @property
    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        return {"codes": lambda: pack_codes(self.codes, self.levels)} | self.grid_tensors

    @property
    def layout(self) -> Layout:
        return {"codes": (torch.uint8, (packed_codes_bytes(self.codes.numel(), self.levels),))} | self.grid_layout

    @property
    def parameters_kept(self) -> int:
        return self.codes.numel()

    @property
    def kernel(self) -> str:
        return "dense matrix product on dequantized weights (no integer kernel yet)"

    def stored(self, storage: torch.dtype) -> Self:
        return self  # what a grid keeps has its own width, whatever the other floats have

    @classmethod
    def from_packed(cls, spec: Spec, tensors: dict[str, Tensor]) -> Self:
        count = spec["shape"][0] * spec["shape"][1]
        return cls.from_codes(spec, tensors, unpack_codes(tensors["codes"], spec["levels"], count))
