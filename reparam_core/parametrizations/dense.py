"""The matrix as it is: the form that every other one is compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reparam_core.parametrizations.base import Layout, Leaf, Parametrization, Spec, dtype_name
from reparam_core.parametrizations.statistics import Statistics


class Dense(Parametrization):
    """W itself, kept in `storage`; given one, its numbers are rounded to it already."""

    form = "dense"

    def __init__(self, weight: Tensor, storage: torch.dtype | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.storage = storage or weight.dtype
        self.shape = (weight.shape[0], weight.shape[1])

    def dense(self) -> Tensor:
        return self.weight.float()

    def stored(self, storage: torch.dtype) -> Dense:
        return self if storage == self.storage else Dense(self.weight.to(storage), storage)

    def leaves(self, statistics: Statistics | None = None) -> list[Leaf]:
        weight = self.dense().contiguous()  # some checkpoints keep the transpose
        return [Leaf("", weight, storage=self.storage, statistics=statistics)]

    def replace(self, path: str, leaf: Parametrization) -> Parametrization:
        return leaf if path == "" else super().replace(path, leaf)

    @property
    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        return {"weight": lambda: self.weight.to(self.storage).contiguous()}

    @property
    def layout(self) -> Layout:
        return {"weight": (self.storage, self.shape)}

    @property
    def parameters_kept(self) -> int:
        return self.weight.numel()

    def spec(self) -> Spec:
        return {"form": self.form, "dtype": dtype_name(self.storage)}

    @classmethod
    def from_packed(cls, spec: Spec, tensors: dict[str, Tensor]) -> Dense:
        return cls(tensors["weight"])

    def _materialized(self, dtype: torch.dtype) -> Tensor:
        if self.weight.dtype == dtype:
            return self.weight
        if dtype == torch.float32:  # exact and wider: the narrow copy is not needed beside it
            self.weight = self.weight.float()
            return self.weight
        return super()._materialized(dtype)
