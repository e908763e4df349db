"""Pruning of whole layers by the norm of their matrices: the baseline of depth pruning (Men et al., 2024, ShortGPT)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from reparam_core.methods.structured import Block, RemovingLayers, norms
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class Layers(RemovingLayers):
    """Of every stack go floor(fraction · count) layers, all their matrices, those of the least ‖·‖₂.

    Where a norm stands before each block (Llama, GPT-2, T5 …) what is left of such a layer is the residual alone,
    exactly the identity, but for biases of o and down, which are still added. Where it stands behind (BERT), a layer
    that is gone still norms what passes, twice.
    """

    name: ClassVar[str] = "layers"
    summary: ClassVar[str] = "removes whole layers of small weights"
    formula: ClassVar[str] = (
        r"s_\ell=\Big(\sum_{W\in\ell}\lVert W\rVert_F^2\Big)^{1/2},\\ \text{layer }\ell\text{ stays where }s_\ell>t"
    )

    def score(self, block: Block) -> Tensor:
        return norms(block, 1)[0]
