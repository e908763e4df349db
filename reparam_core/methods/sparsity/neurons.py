"""Pruning of hidden neurons by the norm of all that is theirs (after Li et al., 2017, who take filters by their norm)."""

from dataclasses import dataclass
from typing import ClassVar

from reparam_core.methods.structured import RemovingNeurons
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class Neurons(RemovingNeurons):
    """Of every MLP go floor(fraction · count) neurons: rows of up and gate, columns of down, the least ‖·‖₂ of all three.

    Exactly what zeros there would answer: what a bias of up makes of a neuron that is gone meets no column of down.
    """

    name: ClassVar[str] = "neurons"
    summary: ClassVar[str] = "removes MLP neurons of small weights"
    formula: ClassVar[str] = (
        r"s_j=\big\lVert\big(W^{\text{up}}_{j\cdot},W^{\text{gate}}_{j\cdot},W^{\text{down}}_{\cdot j}\big)\big\rVert_2,"
        r"\\ \text{neuron }j\text{ stays where }s_j>t"
    )
