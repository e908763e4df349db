"""A weight whose answers are remembered in few bits: the keys and values that attention keeps of every token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from reparam_core.parametrizations.around import Around
from reparam_core.parametrizations.base import Layout, Leaf, Parametrization, Spec, unpack
from reparam_core.parametrizations.statistics import Statistics
from reparam_core.parametrizations.tokens import rounded_by_group

STEP_BITS, ZERO_BITS = 16, 8  # what a grid holds beside its codes


class Cached(Around):
    """Wx rounded to `bits`, every `group` neighbours of a token's answer on a grid of their own; W is the inner form's.

    That is what a cache would hold: keys before their rotation, and both before the module's bias, which are added when
    they are read. `dense` is the weight alone.
    """

    form = "cached"

    def __init__(self, inner: Parametrization, bits: int, group: int) -> None:
        super().__init__()
        self.inner, self.bits, self.group, self.shape = inner, bits, group, inner.shape

    def dense(self) -> Tensor:
        return self.inner.dense()

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return rounded_by_group(y.float(), self.bits, self.group).to(y.dtype)

    @property
    def exact(self) -> bool:
        return False

    @property
    def bytes_per_token(self) -> float:
        """What the cache keeps of one token's answer."""
        grids = -(-self.shape[0] // self.group)
        return (self.shape[0] * self.bits + grids * (STEP_BITS + ZERO_BITS)) / 8

    def stored(self, storage: torch.dtype) -> Cached:
        return Cached(self.inner.stored(storage), self.bits, self.group)

    def leaves(self, statistics: Statistics | None = None) -> list[Leaf]:
        return self.inner.leaves(statistics)

    def replace(self, path: str, leaf: Parametrization) -> Parametrization:
        return Cached(self.inner.replace(path, leaf), self.bits, self.group)

    @property
    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        return self.inner.tensors

    @property
    def layout(self) -> Layout:
        return self.inner.layout

    @property
    def kernel(self) -> str:
        return f"{self.inner.kernel}, answers rounded to {self.bits} bits"

    def spec(self) -> Spec:
        return {"form": self.form, "bits": self.bits, "group": self.group, "inner": self.inner.spec()}

    @classmethod
    def from_packed(cls, spec: Spec, tensors: dict[str, Tensor]) -> Self:
        return cls(unpack(spec["inner"], tensors), spec["bits"], spec["group"])
