"""Pruning of attention heads by the norm of all that is theirs (after Michel et al., 2019, who take heads by gradients)."""

from dataclasses import dataclass
from typing import ClassVar

from reparam_core.methods.structured import RemovingHeads
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class Heads(RemovingHeads):
    """Of every attention go floor(fraction · count) heads: rows of q, k and v, columns of o, the least ‖·‖₂ of all four.

    Queries that share a key/value head go with it. Exactly what zeros there would answer, whatever the biases of q, k
    and v: what a head that is gone attends to meets no column of o. The attention itself still runs over its zeros.
    """

    name: ClassVar[str] = "heads"
    summary: ClassVar[str] = "removes attention heads of small weights"
    formula: ClassVar[str] = (
        r"s_h=\big\lVert\big(W^q_{h\cdot},W^k_{h\cdot},W^v_{h\cdot},W^o_{\cdot h}\big)\big\rVert_2,"
        r"\\ \text{head }h\text{ stays where }s_h>t"
    )
