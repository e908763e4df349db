"""Bits where they buy most: widths by marginal gain in the output's error instead of the same width everywhere."""

from collections.abc import Mapping
from heapq import heapify, heapreplace
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.methods.base import statistics_of
from reparam_core.methods.grids import rounded
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf
from reparam_core.registry import register_split
from reparam_core.splits.base import Prepared, Split

WIDTHS = range(2, 9)


@register_split
class Output(Split):
    """Minimises Σ_i ‖(W_i − Q_{b_i}(W_i)) X‖² / ‖W_i X‖² with as many bits in all, each b_i from 2 to 8.

    The error of every width is that of rounding to the nearest, whatever method then rounds; each further bit goes where
    it takes most error a number. (The greedy answer to the integer programme of HAWQ-V2, Dong et al., 2020, with the Gram
    matrix in the place of the Hessian's trace.)
    """

    name: ClassVar[str] = "output"
    axis: ClassVar[str] = "bits"
    summary: ClassVar[str] = "more bits where the output needs them"
    formula: ClassVar[str] = (
        r"\min_{b_i}\sum_i\frac{\lVert(W_i-Q_{b_i}(W_i))X\rVert^2}{\lVert W_iX\rVert^2}"
        r"\quad\text{with}\quad\sum_i b_i m_in_i\text{ as before}"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"gram"})

    def settings(self, setting: BitsSetting, leaves: Mapping[str, Leaf], prepared: Prepared) -> dict[str, BitsSetting]:
        errors = {role: _errors(leaf, setting) for role, leaf in leaves.items()}
        sizes = {role: leaf.weight.numel() for role, leaf in leaves.items()}
        widths = dict.fromkeys(leaves, WIDTHS[0])
        left = (setting.bits - WIDTHS[0]) * sum(sizes.values())
        queue = [(-_gain(errors[role], WIDTHS[0]) / sizes[role], role) for role in leaves]
        heapify(queue)
        while queue and queue[0][0] < 0:
            role = queue[0][1]
            if sizes[role] > left:  # what is next best may be smaller
                heapreplace(queue, (0.0, role))
                continue
            left -= sizes[role]
            widths[role] += 1
            heapreplace(queue, (-_gain(errors[role], widths[role]) / sizes[role], role))
        return {role: setting.model_copy(update={"bits": width}) for role, width in widths.items()}


def _gain(errors: Mapping[int, float], width: int) -> float:
    """What one more bit takes off; nothing at the greatest width."""
    return max(0.0, errors[width] - errors[width + 1]) if width + 1 in errors else 0.0


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
