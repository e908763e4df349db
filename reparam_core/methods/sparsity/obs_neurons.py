"""Pruning of MLP neurons by the output's loss, which the others make up for (Kurtic et al., 2023, ZipLM, equations 2 and 3)."""

from dataclasses import dataclass
from typing import ClassVar

from reparam_core.methods.structured import Rebuilding, RemovingNeurons
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class OBSNeurons(RemovingNeurons, Rebuilding):
    """min ‖W_down X − W′_down X‖² over W′ without the columns of floor(fraction · count) neurons, those of least loss alone."""

    name: ClassVar[str] = "obs-neurons"
    summary: ClassVar[str] = "removes MLP neurons, and the rest makes up"
