"""Bits where they buy most: widths by marginal gain in the output's error instead of the same width everywhere."""

from collections.abc import Generator, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.base import Method, statistics_of
from reparam_core.methods.grids import rounded
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf
from reparam_core.registry import register_split
from reparam_core.splits.base import Prepared, Split
from reparam_core.splits.budget import Option, least_loss

WIDTHS = range(2, 9)


@register_split
class Output(Split):
    """Minimises Σ_i ‖(W_i − Q_{b_i}(W_i)) X‖² / ‖W_i X‖² with as many bits in all, each b_i from 2 to 8.

    The error of every width is that of rounding to the nearest, whatever method then rounds; each further bit goes where
    it takes most error a number. (The greedy answer to the integer programme of HAWQ-V2, Dong et al., 2020, with the Gram
    matrix in the place of the Hessian's trace.)
    """

    name: ClassVar[str] = "output"
    axes: ClassVar[tuple[str, ...]] = ("bits",)
    summary: ClassVar[str] = "more bits where the output needs them"
    formula: ClassVar[str] = (
        r"\min_{b_i}\sum_i\frac{\lVert(W_i-Q_{b_i}(W_i))X\rVert^2}{\lVert W_iX\rVert^2}"
        r"\quad\text{with}\quad\sum_i b_i m_in_i\text{ as before}"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"gram"})

    def unsuited(self, method: Method) -> str | None:
        lacking = set(WIDTHS) - set(type(method).widths)
        return super().unsuited(method) or ("it has not every width from 2 to 8 bits" if lacking else None)

    def refuse(self, setting: BitsSetting) -> None:
        if setting.bits < WIDTHS[0]:
            raise ReparamError(f"A split by output begins at {WIDTHS[0]} bits, and {setting.bits} is asked.",
                               "Leave the split out, or ask for more bits.")  # fmt: skip

    def settings(
        self, method: Method, setting: BitsSetting, leaves: Mapping[str, Leaf], prepared: Prepared
    ) -> Generator[float, None, dict[str, BitsSetting]]:
        options: dict[str, list[Option[int]]] = {}
        for role, leaf in leaves.items():
            yield len(options) / len(leaves)
            options[role] = [Option(width, error, width * leaf.weight.numel()) for width, error in _errors(leaf, setting).items()]  # fmt: skip
        budget = setting.bits * sum(leaf.weight.numel() for leaf in leaves.values())
        return {role: setting.model_copy(update={"bits": width}) for role, width in least_loss(options, budget).items()}


def _errors(leaf: Leaf, setting: BitsSetting) -> dict[int, float]:
    """Width → relative squared error of the output."""
    gram = statistics_of(leaf).gram
    whole = _energy(leaf.weight, gram)
    if whole <= 0:
        return dict.fromkeys(WIDTHS, 0.0)
    found = {}
    for width in WIDTHS:
        wide = setting.model_copy(update={"bits": width})
        found[width] = _energy(leaf.weight - rounded(leaf.weight, wide).dense(), gram) / whole
    return found


def _energy(matrix: Tensor, gram: Tensor) -> float:
    """‖M X‖² from X's Gram matrix."""
    return float(((matrix @ gram) * matrix).sum(dtype=torch.float64))
