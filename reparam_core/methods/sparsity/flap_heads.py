"""Pruning of attention heads by how much they move, with their mean as a bias (An et al., 2024, FLAP, metric WIFV)."""

from dataclasses import dataclass
from typing import ClassVar

from reparam_core.methods.structured import Averaging, RemovingHeads
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class FLAPHeads(RemovingHeads, Averaging):
    """Of every attention go floor(fraction · count) heads, those of least Σ_j Var(X_j) ‖W_o,j‖²; W_g E[X_g] is added instead.

    Queries that share a key/value head go with it.
    """

    name: ClassVar[str] = "flap-heads"
    summary: ClassVar[str] = "removes attention heads, their mean stays"
