"""W as small integers whose columns were scaled before they were rounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor

from reparam_core.parametrizations.base import FORMS, Layout, Spec, part
from reparam_core.parametrizations.coded import Coded
from reparam_core.parametrizations.tokens import rounded_symmetric


class Scaled(Coded):
    """W ≈ inner · diag(columns); columns float16 (in).

    What the channels of x are multiplied with before `inner` is: where a layer's inputs come from a norm, it could be
    folded into that norm's weight. Here every matrix keeps its own. With `input_bits` x · diag(columns) is rounded to as
    many, each token on a symmetric grid of its own, when it comes: `forward` is then not linear, and `dense` is the
    weights alone.
    """

    form = "scaled"
    file_note = "each column keeps a scale"

    def __init__(self, inner: Coded, columns: Tensor, input_bits: int | None = None) -> None:
        super().__init__()
        self.inner, self.columns, self.input_bits = inner, columns, input_bits
        self.codes, self.shape = inner.codes, inner.shape

    @property
    def levels(self) -> int:
        return self.inner.levels

    def dense(self) -> Tensor:
        return self.inner.dense().mul_(self.columns.float())

    def seen(self, x: Tensor) -> Tensor:
        if self.input_bits is None:
            return x
        columns = self.columns.float()
        return (rounded_symmetric(x.float() * columns, self.input_bits) / columns).to(x.dtype)

    @property
    def exact(self) -> bool:
        return self.input_bits is None

    @property
    def kernel(self) -> str:
        rounded = "" if self.exact else f" and inputs rounded to {self.input_bits} bits"
        return f"dense matrix product on dequantized weights{rounded} (no integer kernel yet)"

    @property
    def grid_tensors(self) -> dict[str, Callable[[], Tensor]]:
        inner = {f"inner.{name}": make for name, make in self.inner.grid_tensors.items()}
        return inner | {"columns": lambda: self.columns.clone()}  # a file takes no tensor that several share

    @property
    def grid_layout(self) -> Layout:
        inner = {f"inner.{name}": what for name, what in self.inner.grid_layout.items()}
        return inner | {"columns": (self.columns.dtype, tuple(self.columns.shape))}

    def spec(self) -> Spec:
        return {"form": self.form, "shape": list(self.shape), "levels": self.levels, "inner": self.inner.spec(),
                "input_bits": self.input_bits}  # fmt: skip

    @classmethod
    def from_codes(cls, spec: Spec, tensors: dict[str, Tensor], codes: Tensor) -> Self:
        kind = FORMS[spec["inner"]["form"]]
        assert issubclass(kind, Coded)
        inner = kind.from_codes(spec["inner"], part(tensors, "inner"), codes)
        return cls(inner, tensors["columns"], spec["input_bits"])
