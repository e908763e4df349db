"""What every split promises: settings of their own for the matrices, which together cost what the one setting would."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from typing import Any, ClassVar

from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.base import Method
from reparam_core.methods.settings import RankSetting, SparsitySetting
from reparam_core.parametrizations import Leaf

Prepared = Callable[[str], Mapping[str, Tensor]]  # role → what the step's method prepared for that matrix


class Split(ABC):
    """One way to spread a setting; it has no state."""

    name: ClassVar[str]
    axes: ClassVar[tuple[str, ...]]  # of which it spreads a setting
    summary: ClassVar[str]  # what it does, in about six words
    formula: ClassVar[str] = ""  # lines of LaTeX
    needs: ClassVar[frozenset[str]] = frozenset()  # what of the inputs' statistics it reads, as methods say it

    def unsuited(self, method: Method) -> str | None:
        """Why the method takes no settings that differ from matrix to matrix, in words; None where it does."""
        return None if method.unit == "matrix" else f"it spreads its setting over each {method.unit} itself"

    def reads_prepared(self, method: Method) -> bool:
        """Does it ask for what this method prepares?"""
        return False

    def refuse(self, setting: Any) -> None:
        """Raises ReparamError for a setting that cannot be spread: asked before any number is touched."""
        if isinstance(setting, RankSetting) and setting.energy is not None:
            raise ReparamError("A share of the energy gives every matrix a rank of its own already.",
                               "Leave the split out, or give a share of the rank or of the numbers.")  # fmt: skip
        if isinstance(setting, SparsitySetting) and setting.fraction is None:
            raise ReparamError("Only a share of zeros can be split over matrices; a pattern or a threshold is the same everywhere.",
                               "Leave the split out, or give a share.")  # fmt: skip

    @abstractmethod
    def settings(
        self, method: Method, setting: Any, leaves: Mapping[str, Leaf], prepared: Prepared
    ) -> Generator[float, None, dict[str, Any]]:
        """The setting of each matrix, by role; in steps, which yield how much is done."""
