"""W as a sum of forms: a low-rank part and what it leaves, or a base and its correction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from reparam_core.errors import ReparamError
from reparam_core.parametrizations.base import Layout, Leaf, Parametrization, Spec, nested, nested_layout, part, unpack
from reparam_core.parametrizations.statistics import Statistics


class Sum(Parametrization):
    """Σ parts, all of one shape."""

    form = "sum"

    def __init__(self, parts: Sequence[Parametrization]) -> None:
        super().__init__()
        if not parts or any(one.shape != parts[0].shape for one in parts):
            raise ReparamError(f"A sum needs parts of one shape, got {[one.shape for one in parts]}.")
        self.parts = nn.ModuleList(parts)
        self.shape = parts[0].shape

    @property
    def _forms(self) -> list[Parametrization]:
        return [one for one in self.parts if isinstance(one, Parametrization)]

    def dense(self) -> Tensor:
        return torch.stack([one.dense() for one in self._forms]).sum(0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([one(x) for one in self._forms]).sum(0)

    def lookup(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.stack([one.lookup(ids, dtype) for one in self._forms]).sum(0)

    def materialize(self, dtype: torch.dtype) -> None:
        for one in self._forms:
            one.materialize(dtype)

    def stored(self, storage: torch.dtype) -> Sum:
        return Sum([one.stored(storage) for one in self._forms])

    def leaves(self, statistics: Statistics | None = None) -> list[Leaf]:
        return [leaf.below(str(index)) for index, one in enumerate(self._forms) for leaf in one.leaves(statistics)]

    def replace(self, path: str, leaf: Parametrization) -> Parametrization:
        index, _, rest = path.partition(".")
        if not index.isdigit() or int(index) >= len(self.parts):
            return super().replace(path, leaf)
        return Sum([one.replace(rest, leaf) if i == int(index) else one for i, one in enumerate(self._forms)])

    @property
    def tensors(self) -> dict[str, Callable[[], Tensor]]:
        return {name: make for i, one in enumerate(self._forms) for name, make in nested(str(i), one).items()}

    @property
    def layout(self) -> Layout:
        return {name: what for i, one in enumerate(self._forms) for name, what in nested_layout(str(i), one).items()}

    @property
    def parameters_kept(self) -> int:
        return sum(one.parameters_kept for one in self._forms)

    @property
    def operations(self) -> int:
        return sum(one.operations for one in self._forms)

    @property
    def kernel(self) -> str:
        return " + ".join(one.kernel for one in self._forms)

    def spec(self) -> Spec:
        return {"form": self.form, "parts": [one.spec() for one in self._forms]}

    @classmethod
    def from_packed(cls, spec: Spec, tensors: dict[str, Tensor]) -> Sum:
        return cls([unpack(inner, part(tensors, str(i))) for i, inner in enumerate(spec["parts"])])
