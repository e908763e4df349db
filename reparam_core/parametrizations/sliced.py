"""W with whole rows and columns gone: a smaller matrix, and where it stood."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reparam_core.parametrizations.around import Around
from reparam_core.parametrizations.base import (
    Layout,
    Leaf,
    Parametrization,
    Spec,
    element_size,
    nested,
    nested_layout,
    part,
    unpack,
)
from reparam_core.parametrizations.bits import pack_mask, packed_bytes, unpack_mask
from reparam_core.parametrizations.statistics import Statistics

INDEX = torch.int32  # of a place that is named by its number


class Sliced(Around):
    """inner (kept rows, kept columns) at those places of W (out, in), zeros elsewhere; None: all of them are kept.

    Only the smaller matrix is multiplied: the kept channels of x go in, its answers come out at their places. Where the
    matrix behind it lacks the same columns, the zeros between them meet nothing.

    With a `bias` (kept rows) that is added to the answers: what the columns that are gone made of their inputs' means,
    say. It is no part of the matrix, so `dense` and the leaves know nothing of it, and no later step changes it.
    """

    form = "sliced"
    file_note = "what is kept of rows and columns is named"

    def __init__(
        self,
        inner: Parametrization,
        shape: tuple[int, int],
        rows: Tensor | None,
        columns: Tensor | None,
        bias: Tensor | None = None,
    ) -> None:
        """`rows` and `columns` are rising indices, int64."""
        super().__init__()
        self.inner, self.shape, self.rows, self.columns, self.bias = inner, shape, rows, columns, bias

    def dense(self) -> Tensor:
        return _spread(_spread(self.inner.dense(), self.columns, self.shape[1], 1), self.rows, self.shape[0], 0)

    def forward(self, x: Tensor) -> Tensor:
        if not self.inner.shape[0]:
            return x.new_zeros(*x.shape[:-1], self.shape[0])
        y = self.inner(x if self.columns is None else x.index_select(-1, self.columns))
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return _spread(y, self.rows, self.shape[0], -1)

    @property
    def exact(self) -> bool:
        return self.bias is None and super().exact

    def of(self, whole: Tensor) -> Tensor:
        """The kept rows and columns of what has W's shape."""
        for dim, kept in enumerate((self.rows, self.columns)):
            whole = whole if kept is None else whole.index_select(dim, kept)
        return whole

    def stored(self, storage: torch.dtype) -> Sliced:
        inner, bias = self.inner.stored(storage), None if self.bias is None else self.bias.to(storage)
        if inner is self.inner and bias is self.bias:
            return self
        return Sliced(inner, self.shape, self.rows, self.columns, bias)

    def leaves(self, statistics: Statistics | None = None) -> list[Leaf]:
        if not self.inner.parameters_kept:
            return []
        known = None if statistics is None else statistics.sliced(self.rows, self.columns)
        return [leaf.below("inner") for leaf in self.inner.leaves(known)]

    def replace(self, path: str, leaf: Parametrization) -> Parametrization:
        name, _, rest = path.partition(".")
        if name != "inner":
            return super().replace(path, leaf)
        inner, bias = self.inner.replace(rest, leaf), self.bias
        if isinstance(inner, Sliced) and bias is not None:
            inner, bias = inner.with_bias(bias), None
        return Sliced(inner, self.shape, self.rows, self.columns, bias)

    def with_bias(self, bias: Tensor) -> Sliced:
        """The same with this (out) added to what its kept rows answer; the others answer nothing still."""
        own = bias if self.rows is None else bias.index_select(0, self.rows)
        added = own if self.bias is None else own.float() + self.bias.float()
        return Sliced(self.inner, self.shape, self.rows, self.columns, added if len(added) else None)

    @property
    def parameters_kept(self) -> int:
        return self.inner.parameters_kept + (0 if self.bias is None else len(self.bias))

    @property
    def _places(self) -> dict[str, tuple[Tensor, int]]:
        """What is named: the kept places, and of how many."""
        both = {"rows": (self.rows, self.shape[0]), "columns": (self.columns, self.shape[1])}
        return {name: (kept, count) for name, (kept, count) in both.items() if kept is not None}

    @property
    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        def packed(name: str) -> Tensor:
            kept, count = self._places[name]
            return kept.to(INDEX) if _by_number(kept, count) else pack_mask(_mask(kept, count))

        places = {name: lambda name=name: packed(name) for name in self._places}
        return places | self._added | nested("inner", self.inner)

    @property
    def _added(self) -> dict[str, Callable[[], Tensor]]:
        bias = self.bias
        return {} if bias is None else {"bias": lambda: bias}

    @property
    def layout(self) -> Layout:
        places: Layout = {
            name: (INDEX, (len(kept),)) if _by_number(kept, count) else (torch.uint8, (packed_bytes(count, 1),))
            for name, (kept, count) in self._places.items()
        }
        added: Layout = {} if self.bias is None else {"bias": (self.bias.dtype, tuple(self.bias.shape))}
        return places | added | nested_layout("inner", self.inner)

    @property
    def kernel(self) -> str:
        if not self.inner.parameters_kept:
            return "no product: nothing of the matrix is left" if self.bias is None else "no product, only a bias"
        return f"{self.inner.kernel}, of the smaller matrix{'' if self.bias is None else ', and a bias'}"

    def spec(self) -> Spec:
        return {"form": self.form, "shape": list(self.shape), "inner": self.inner.spec()}

    @classmethod
    def from_packed(cls, spec: Spec, tensors: dict[str, Tensor]) -> Sliced:
        shape = (spec["shape"][0], spec["shape"][1])
        rows, columns = (
            _named(tensors[name], count) if name in tensors else None
            for name, count in zip(("rows", "columns"), shape, strict=True)
        )
        return cls(unpack(spec["inner"], part(tensors, "inner")), shape, rows, columns, tensors.get("bias"))


def _spread(values: Tensor, kept: Tensor | None, count: int, dim: int) -> Tensor:
    """The values at their places among `count` of that dimension, zeros between them."""
    if kept is None:
        return values
    shape = list(values.shape)
    shape[dim] = count
    return values.new_zeros(shape).index_copy_(dim, kept, values)


def _by_number(kept: Tensor, count: int) -> bool:
    """Are a few numbers shorter than a bit for every place?"""
    return element_size(INDEX) * len(kept) < packed_bytes(count, 1)


def _mask(kept: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.bool).index_fill_(0, kept, True)


def _named(packed: Tensor, count: int) -> Tensor:
    """The kept places again."""
    return packed.long() if packed.dtype == INDEX else unpack_mask(packed, (1, count))[0].nonzero()[:, 0]
