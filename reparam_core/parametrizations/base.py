"""What every form of a weight promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reparam_core.errors import ReparamError
from reparam_core.parametrizations.statistics import Statistics

Spec = dict[str, Any]
Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]
FORMS: dict[str, type[Parametrization]] = {}


@dataclass(frozen=True)
class Leaf:
    """What the next step of a recipe works on: a dense matrix inside a form.

    `mask` (same shape, True where kept) is there when an earlier step pruned: the next one leaves zeros zero.
    """

    path: str
    weight: Tensor  # (out, in), float32, contiguous
    mask: Tensor | None = None
    storage: torch.dtype | None = None  # to which its numbers are rounded already
    statistics: Statistics | None = None  # of its own inputs, where the step asked for them
    head: int | None = None  # neighbouring rows, or columns of an output projection, of one attention head

    def below(self, name: str) -> Leaf:
        """The same leaf as a part called `name` of a form sees it."""
        return replace(self, path=f"{name}.{self.path}".removesuffix("."))


class Parametrization(nn.Module, ABC):
    """A weight W of shape (out_features, in_features) in some form; the module that uses it keeps its own bias."""

    form: ClassVar[str]
    file_note: ClassVar[str] = ""  # what its file holds beside its numbers, in words
    memory_note: ClassVar[str] = ""  # why it holds more memory than its file while it runs, in words
    shape: tuple[int, int]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "form" in cls.__dict__:
            FORMS[cls.form] = cls

    @abstractmethod
    def dense(self) -> Tensor:
        """The matrix itself, float32 of shape (out, in)."""

    @abstractmethod
    def stored(self, storage: torch.dtype) -> Parametrization:
        """The same form with every float rounded to what the file keeps."""

    @property
    @abstractmethod
    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        """The packed tensors by name, each made when asked for."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """dtype and shape of every packed tensor, known without packing."""

    @property
    def nbytes(self) -> int:
        """Bytes of the packed tensors."""
        return sum(element_size(dtype) * prod(shape) for dtype, shape in self.layout.values())

    @property
    @abstractmethod
    def parameters_kept(self) -> int:
        """How many numbers the form keeps, whatever their width."""

    @property
    def operations(self) -> int:
        """Multiply-adds that one input vector needs in theory."""
        return self.parameters_kept

    @property
    def kernel(self) -> str:
        """What `forward` really runs here, in words."""
        return "dense matrix product"

    @property
    def file_notes(self) -> set[str]:
        """What its file and those of its parts hold beside the numbers."""
        return {one.file_note for one in self._parts() if one.file_note}

    @property
    def memory_notes(self) -> set[str]:
        """Why it and its parts hold more memory than their file."""
        return {one.memory_note for one in self._parts() if one.memory_note}

    def _parts(self) -> list[Parametrization]:
        """Itself and every form inside it."""
        return [one for one in self.modules() if isinstance(one, Parametrization)]

    @abstractmethod
    def spec(self) -> Spec:
        """What `unpack` needs beside the tensors: plain JSON."""

    @classmethod
    @abstractmethod
    def from_packed(cls, spec: Spec, tensors: dict[str, Tensor]) -> Parametrization:
        """The form that `spec` and its packed tensors describe."""

    def forward(self, x: Tensor) -> Tensor:
        """x @ Wᵀ in x's dtype; x is (..., in), the answer (..., out). A form may round x first: `seen`.

        One that is not `exact` may do something with the answer, too.
        """
        return nn.functional.linear(self.seen(x), self._materialized(x.dtype))

    def seen(self, x: Tensor) -> Tensor:
        """The inputs that the matrix is multiplied with: x as it is, unless the form rounds it."""
        return x

    @property
    def exact(self) -> bool:
        """Are all inputs taken as they are and all answers given so, so that `dense` says what `forward` does?"""
        return all(one.exact for one in self._parts() if one is not self)

    def lookup(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Rows of W, as an embedding reads them: ids (...), answer (..., in)."""
        return nn.functional.embedding(ids, self._materialized(dtype))

    def leaves(self, statistics: Statistics | None = None) -> list[Leaf]:
        """The dense matrices that a further step may turn into another form, with the statistics of their own inputs."""
        return []

    def replace(self, path: str, leaf: Parametrization) -> Parametrization:
        """This form with the leaf at `path` in another form."""
        raise ReparamError(f"A {self.form} form has no part '{path}'.", "Name one of its leaves.")

    def materialize(self, dtype: torch.dtype) -> None:
        """Make what `forward` needs in this dtype now, so that the first call does not pay for it."""
        self._materialized(dtype)

    def pack(self) -> tuple[Spec, dict[str, Tensor]]:
        """The form as plain JSON and plain tensors, `unpack`'s inverse."""
        return self.spec(), {name: make() for name, make in self.tensors.items()}

    def _materialized(self, dtype: torch.dtype) -> Tensor:
        """The dense matrix in x's dtype, kept after the first call (two threads may both make it: the same values)."""
        kept: Tensor | None = self.__dict__.get("_running")
        if kept is None or kept.dtype != dtype:
            kept = self.dense().to(dtype)
            self.__dict__["_running"] = kept
        return kept


def unpack(spec: Spec, tensors: dict[str, Tensor]) -> Parametrization:
    """The form that `pack` wrote. Raises ReparamError where the form is unknown or a tensor is missing."""
    kind = FORMS.get(str(spec.get("form")))
    if kind is None:
        raise ReparamError(f"Unknown form of a weight: {spec.get('form')!r}.", f"Known: {', '.join(sorted(FORMS))}.")
    try:
        return kind.from_packed(spec, tensors)
    except KeyError as missing:
        raise ReparamError(f"The packed {kind.form} form lacks {missing}.", "Compress the model again.") from missing


def part(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors below `name.`, with that prefix taken off."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def nested(name: str, form: Parametrization) -> dict[str, Callable[[], Tensor]]:
    """A part's packed tensors under `name.`."""
    return {f"{name}.{key}": make for key, make in form.tensors.items()}


def nested_layout(name: str, form: Parametrization) -> Layout:
    """A part's layout under `name.`."""
    return {f"{name}.{key}": what for key, what in form.layout.items()}


def element_size(dtype: torch.dtype) -> int:
    """Bytes of one element."""
    return torch.empty((), dtype=dtype).element_size()


def dtype_name(dtype: torch.dtype) -> str:
    """`float16` for `torch.float16`."""
    return str(dtype).removeprefix("torch.")
