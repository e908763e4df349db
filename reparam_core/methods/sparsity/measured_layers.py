"""Pruning of whole layers by the loss without each (Kim et al., 2024, Shortened LLaMA, its perplexity criterion)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from reparam_core.methods.structured import Block, RemovingLayers, rises
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class MeasuredLayers(RemovingLayers):
    """Of every stack go floor(fraction · count) layers, all their matrices, those without which alone the loss rises least.

    The loss is the model's own, of the untouched model in which all matrices of a layer give nothing, over the first
    sequences of the calibration text. Men et al. (2024, ShortGPT) judge a layer by how little it turns its input instead.
    """

    name: ClassVar[str] = "measured-layers"
    summary: ClassVar[str] = "removes layers that the loss misses least"
    formula: ClassVar[str] = (
        r"s_\ell=\mathcal L\big(W=0\ \forall\,W\in\ell\big)-\mathcal L,\\ \text{layer }\ell\text{ stays where }s_\ell>t"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"losses"})

    def score(self, block: Block) -> Tensor:
        return rises(block, 1)[0]
