"""Pruning by weights and activations (Sun et al., 2024, equation 1)."""

from dataclasses import dataclass
from typing import ClassVar

from reparam_core.methods.base import OfInputsMethod, Prepared
from reparam_core.methods.patterns import ByScore, gone_by, pruned
from reparam_core.methods.settings import SparsitySetting
from reparam_core.parametrizations import Leaf, Sparse, Statistics
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class Wanda(ByScore, OfInputsMethod):
    """Of every row of W goes the share with the least |W_ij| · ‖X_j‖₂: what the output misses least, input by input."""

    name: ClassVar[str] = "wanda"
    axis: ClassVar[str] = "sparsity"
    summary: ClassVar[str] = "zeroes what the inputs use least"
    formula: ClassVar[str] = r"W'_{ij}=W_{ij}\cdot\big[\,|W_{ij}|\,\lVert X_j\rVert_2>t_i\,\big]"

    def prepare_inputs(self, statistics: Statistics) -> Prepared:
        return {"norms": statistics.norms}

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: SparsitySetting) -> Sparse:
        scores = leaf.weight.float().abs() * prepared["norms"]
        return pruned(leaf, gone_by(scores, setting))
