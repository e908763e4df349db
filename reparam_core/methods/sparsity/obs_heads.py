"""Pruning of attention heads by the output's loss, which the others make up for (Kurtic et al., 2023, ZipLM, equations 2 and 3)."""

from dataclasses import dataclass
from typing import ClassVar

from reparam_core.methods.structured import Rebuilding, RemovingHeads
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class OBSHeads(RemovingHeads, Rebuilding):
    """min ‖W_o X − W′_o X‖² over W′ without the columns of floor(fraction · count) heads, those of least loss alone.

    Queries that share a key/value head go with it.
    """

    name: ClassVar[str] = "obs-heads"
    summary: ClassVar[str] = "removes attention heads, and the rest makes up"
