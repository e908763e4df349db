"""Pruning of attention heads by the loss without each (after Michel et al., 2019, who leave out one head at a time)."""

from dataclasses import dataclass
from typing import ClassVar

from reparam_core.methods.base import Prepared
from reparam_core.methods.structured import Block, RemovingHeads, rises
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class MeasuredHeads(RemovingHeads):
    """Of every attention go floor(fraction · count) heads, those without which alone the loss rises least.

    Queries that share a key/value head go with it. The loss is the model's own, of the untouched model with columns of o
    set to zero, over the first sequences of the calibration text. A rise may be negative: it is better without. Measured
    one by one, so that of two heads that do the same neither is missed. The authors rank a model's heads together, by
    gradients; here every attention loses the same share.
    """

    name: ClassVar[str] = "measured-heads"
    summary: ClassVar[str] = "removes heads that the loss misses least"
    formula: ClassVar[str] = (
        r"s_h=\mathcal L\big(W^o_{\cdot h}=0\big)-\mathcal L,\\ \text{head }h\text{ stays where }s_h>t"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"losses"})

    def scores(self, block: Block, count: int) -> Prepared:
        return {"scores": rises(block, count)}
