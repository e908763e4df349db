"""Pruning of MLP neurons by how much they move, with their mean as a bias (An et al., 2024, FLAP, metric WIFV)."""

from dataclasses import dataclass
from typing import ClassVar

from reparam_core.methods.structured import Averaging, RemovingNeurons
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class FLAPNeurons(RemovingNeurons, Averaging):
    """Of every MLP go floor(fraction · count) neurons, those of least Var(X_j) ‖W_down,j‖²; W_g E[X_g] is added instead."""

    name: ClassVar[str] = "flap-neurons"
    summary: ClassVar[str] = "removes MLP neurons, their mean stays"
