"""What every split promises: settings of their own for the matrices, which together cost what the one setting would."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from reparam_core.methods.base import Method
from reparam_core.parametrizations import Leaf

Prepared = Callable[[str], Mapping[str, Tensor]]  # role → what the step's method prepared for that matrix


class Split(ABC):
    """One way to spread a setting; it has no state."""

    name: ClassVar[str]
    axis: ClassVar[str]
    summary: ClassVar[str]  # what it does, in about six words
    formula: ClassVar[str] = ""  # lines of LaTeX
    reads_prepared: ClassVar[bool] = False  # does it ask for what the method prepares?
    needs: ClassVar[frozenset[str]] = frozenset()  # what of the inputs' statistics it reads, as methods say it

    def unsuited(self, method: Method) -> str | None:
        """Why the method takes no settings that differ from matrix to matrix, in words; None where it does."""
        return None if method.unit == "matrix" else f"it spreads its setting over each {method.unit} itself"

    def refuse(self, setting: Any) -> None:
        """Raises ReparamError for a setting that cannot be spread: asked before any number is touched."""
        return

    @abstractmethod
    def settings(self, setting: Any, leaves: Mapping[str, Leaf], prepared: Prepared) -> dict[str, Any]:
        """The setting of each matrix, by role."""
