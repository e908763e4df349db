"""Pruning of attention heads by the output's loss, which the others make up for (Kurtic et al., 2023, ZipLM, equations 2 and 3)."""

from dataclasses import dataclass
from typing import ClassVar

from reparam_core.methods.structured import Rebuilding, RemovingHeads
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class OBSHeads(RemovingHeads, Rebuilding):
    """min ‖W_o X − W′_o X‖² over W′ without the columns of floor(fraction · count) heads, those of least loss alone.

    Queries that share a key/value head go with it. All go at once, and what stays of o is solved together; the authors
    remove one, update, and look again. No bias is added, as FLAP does: X is not centred, so the others make up for
    what a head adds to every token, too.
    """

    name: ClassVar[str] = "obs-heads"
    summary: ClassVar[str] = "removes attention heads, and the rest makes up"
    formula: ClassVar[str] = (
        r"s_u=\big(\operatorname{tr}W_u([H^{-1}]_{uu})^{-1}W_u^\top\big)^{1/2},"
        r"\\ W'_k=W\,H_{:k}\,(H_{kk})^{-1}"
    )
    instant: ClassVar[bool] = False
