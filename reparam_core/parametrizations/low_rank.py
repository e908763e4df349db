"""W = U Vᵀ: two thin factors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reparam_core.parametrizations.base import Layout, Leaf, Parametrization, Spec, nested, nested_layout, part, unpack
from reparam_core.parametrizations.statistics import Statistics


class LowRank(Parametrization):
    """left (out, r) times right (r, in): U and Vᵀ of W = U Vᵀ. Either factor may take another form."""

    form = "low_rank"

    def __init__(self, left: Parametrization, right: Parametrization) -> None:
        super().__init__()
        self.left, self.right = left, right
        self.shape = (left.shape[0], right.shape[1])

    @property
    def rank(self) -> int:
        """r, the inner dimension."""
        return self.right.shape[0]

    def dense(self) -> Tensor:
        return self.left.dense() @ self.right.dense()

    def forward(self, x: Tensor) -> Tensor:
        return self.left(self.right(x))

    def lookup(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        return self.left.lookup(ids, dtype) @ self.right._materialized(dtype)

    def materialize(self, dtype: torch.dtype) -> None:
        self.left.materialize(dtype)
        self.right.materialize(dtype)

    def stored(self, storage: torch.dtype) -> LowRank:
        return LowRank(self.left.stored(storage), self.right.stored(storage))

    def leaves(self, statistics: Statistics | None = None) -> list[Leaf]:
        inner = None if statistics is None else statistics.through(self.right.dense())
        own = None if statistics is None else statistics.of_inputs
        left, right = self.left.leaves(inner), self.right.leaves(own)
        return [leaf.below("left") for leaf in left] + [leaf.below("right") for leaf in right]

    def replace(self, path: str, leaf: Parametrization) -> Parametrization:
        name, _, rest = path.partition(".")
        if name == "left":
            return LowRank(self.left.replace(rest, leaf), self.right)
        if name == "right":
            return LowRank(self.left, self.right.replace(rest, leaf))
        return super().replace(path, leaf)

    @property
    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        return nested("left", self.left) | nested("right", self.right)

    @property
    def layout(self) -> Layout:
        return nested_layout("left", self.left) | nested_layout("right", self.right)

    @property
    def parameters_kept(self) -> int:
        return self.left.parameters_kept + self.right.parameters_kept

    @property
    def operations(self) -> int:
        return self.left.operations + self.right.operations

    @property
    def kernel(self) -> str:
        return f"two thin products of rank {self.rank}"

    def spec(self) -> Spec:
        return {"form": self.form, "left": self.left.spec(), "right": self.right.spec()}

    @classmethod
    def from_packed(cls, spec: Spec, tensors: dict[str, Tensor]) -> LowRank:
        return cls(unpack(spec["left"], part(tensors, "left")), unpack(spec["right"], part(tensors, "right")))
