"""Norms folded into what reads them (SliceGPT: Ashkboos et al., 2024, section 3.2; QuaRot, step 1)."""

from dataclasses import dataclass
from typing import ClassVar

from reparam_core.methods.rewriting import Network, Transform, folded
from reparam_core.registry import register_transform


@register_transform
@dataclass(frozen=True)
class FoldNorms(Transform):
    """W diag(g) (x / rms(x)) = W (g ⊙ x / rms(x)); a norm before a tied head stays, so that no byte is added."""

    name: ClassVar[str] = "fold-norms"
    summary: ClassVar[str] = "moves each norm's gain into the weights"
    formula: ClassVar[str] = r"W\leftarrow W\,\mathrm{diag}(g),\quad g\leftarrow 1"

    def rewrite(self, network: Network) -> Network:
        return folded(network)
