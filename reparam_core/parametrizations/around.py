"""What forms that stand around another one have in common."""

from __future__ import annotations

import torch

from reparam_core.parametrizations.base import Parametrization


class Around(Parametrization):
    """A form that does something before or after `inner`, which keeps the numbers and multiplies."""

    inner: Parametrization

    def materialize(self, dtype: torch.dtype) -> None:
        self.inner.materialize(dtype)

    @property
    def parameters_kept(self) -> int:
        return self.inner.parameters_kept

    @property
    def operations(self) -> int:
        return self.inner.operations
