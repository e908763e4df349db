"""W mostly zeros: a bitmap of what is kept and the kept values in row order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.parametrizations.base import FORMS, Layout, Leaf, Parametrization, Spec, part
from reparam_core.parametrizations.bits import (
    pack_codes,
    pack_mask,
    packed_bytes,
    packed_codes_bytes,
    unpack_codes,
    unpack_mask,
)
from reparam_core.parametrizations.coded import Coded
from reparam_core.parametrizations.dense import Dense
from reparam_core.parametrizations.sliced import Sliced
from reparam_core.parametrizations.statistics import Statistics


class Sparse(Parametrization):
    """mask (out, in) True where kept; `values` gives them: zero where pruned if Dense, anything if coded."""

    form = "sparse"
    file_note = "a bitmap says where the zeros are"
    memory_note = "zeros stored dense"

    def __init__(self, mask: Tensor | None, values: Dense | Coded, kept: int | None = None) -> None:
        """A mask of None is that of the values which are not zero, made when it is asked for; `kept` counts it."""
        super().__init__()
        self.values, self.shape = values, values.shape
        self._mask, self._kept = mask, kept

    @property
    def mask(self) -> Tensor:
        """True where kept, (out, in)."""
        if self._mask is None:
            self._mask = self.values.dense() != 0
        return self._mask

    @property
    def kept(self) -> int:
        """How many values are kept."""
        if self._kept is None:
            self._kept = int(self.mask.count_nonzero())
        return self._kept

    def dense(self) -> Tensor:
        values = self.values.dense()
        return values if isinstance(self.values, Dense) else values.mul_(self.mask)

    def seen(self, x: Tensor) -> Tensor:
        return self.values.seen(x)

    def stored(self, storage: torch.dtype) -> Sparse:
        values = self.values.stored(storage)
        return self if values is self.values else Sparse(self.mask, values, self._kept)

    def leaves(self, statistics: Statistics | None = None) -> list[Leaf]:
        return [replace(leaf, path="values", mask=self.mask) for leaf in self.values.leaves(statistics)]

    def replace(self, path: str, leaf: Parametrization) -> Parametrization:
        if path != "values":
            return super().replace(path, leaf)
        if isinstance(leaf, Sparse):
            return Sparse(self.mask & leaf.mask, leaf.values)
        if isinstance(leaf, Sliced) and isinstance(leaf.inner, Dense | Coded):
            return Sliced(Sparse(leaf.of(self.mask), leaf.inner), leaf.shape, leaf.rows, leaf.columns, leaf.bias)
        if not isinstance(leaf, Dense | Coded):
            raise ReparamError(f"A pruned matrix cannot become {leaf.form.replace('_', ' ')}: its zeros would not stay zero.",
                               "Start from a model that was not pruned.")  # fmt: skip
        return Sparse(self.mask, leaf)

    @property
    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        values = self.values
        bitmap: dict[str, Callable[[], Tensor]] = {"mask": lambda: pack_mask(self.mask)}
        if isinstance(values, Coded):
            grid = {f"values.{name}": make for name, make in values.grid_tensors.items()}
            return bitmap | {"values.codes": lambda: pack_codes(values.codes[self.mask], values.levels)} | grid
        return bitmap | {"values.weight": lambda: values.weight.to(values.storage)[self.mask]}

    @property
    def layout(self) -> Layout:
        values = self.values
        mask: Layout = {"mask": (torch.uint8, (packed_bytes(prod(self.shape), 1),))}
        if isinstance(values, Coded):
            grid = {f"values.{name}": what for name, what in values.grid_layout.items()}
            return mask | {"values.codes": (torch.uint8, (packed_codes_bytes(self.kept, values.levels),))} | grid
        return mask | {"values.weight": (values.storage, (self.kept,))}

    @property
    def parameters_kept(self) -> int:
        return self.kept

    @property
    def kernel(self) -> str:
        return "dense matrix product: zeros are multiplied too (no kernel for unstructured zeros)"

    def spec(self) -> Spec:
        return {"form": self.form, "shape": list(self.shape), "values": self.values.spec()}

    @classmethod
    def from_packed(cls, spec: Spec, tensors: dict[str, Tensor]) -> Sparse:
        mask = unpack_mask(tensors["mask"], (spec["shape"][0], spec["shape"][1]))
        inner, below = spec["values"], part(tensors, "values")
        kind = FORMS[inner["form"]]
        if issubclass(kind, Coded):
            kept = unpack_codes(below["codes"], inner["levels"], int(mask.count_nonzero()))
            codes = torch.zeros(mask.shape, dtype=torch.uint8)
            codes[mask] = kept
            return cls(mask, kind.from_codes(inner, below, codes))
        weight = torch.zeros(mask.shape, dtype=below["weight"].dtype)
        weight[mask] = below["weight"]
        return cls(mask, Dense(weight))

    def _materialized(self, dtype: torch.dtype) -> Tensor:
        return self.values._materialized(dtype) if isinstance(self.values, Dense) else super()._materialized(dtype)
