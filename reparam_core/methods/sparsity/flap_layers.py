"""Pruning of whole layers by how much they move, with their mean as a bias: FLAP's idea (An et al., 2024) for layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.methods.base import Prepared, statistics_of
from reparam_core.methods.structured import Block, RemovingLayers, leads_out, stacks
from reparam_core.parametrizations import Leaf
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class FLAPLayers(RemovingLayers):
    """Of every stack go floor(fraction · count) layers, those that move least of what has moved behind them; W E[X] stays.

    What a layer moves is the variance of what its o and down write, summed over channels and matrices as if nothing hung
    together; it counts as its share of what all layers up to it moved. Where a norm stands before each block that sum is
    about the variance of the residual stream behind the layer, and the first layer is the last to go. Where it stands
    behind (BERT) it is no more than a rule. An et al. remove heads and neurons alone. Men et al. (2024, ShortGPT) take
    how much a layer turns the stream itself, of which statistics of the matrices' normed inputs tell nothing.
    """

    name: ClassVar[str] = "flap-layers"
    summary: ClassVar[str] = "removes whole layers, their mean stays"
    formula: ClassVar[str] = (
        r"v_\ell=\sum_{W\in\{o,\,\mathrm{down}\}}\operatorname{tr}W\operatorname{Cov}(X)W^\top,\quad"
        r"s_\ell=v_\ell\Big/\sum_{j\le\ell}v_j,\\ WX\approx W\operatorname{E}[X]"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"gram", "mean"})

    def prepare(self, leaves: Mapping[str, Leaf]) -> Prepared:
        moved, shares = super().prepare(leaves), Prepared()
        for names in stacks(moved):
            own = torch.cat([moved[name] for name in names])
            behind = own.cumsum(0).clamp_min(torch.finfo(own.dtype).tiny)  # what never moved has no share of nothing
            shares |= zip(names, (own / behind).float().split(1), strict=True)
        return shares

    def score(self, block: Block) -> Tensor:
        return torch.stack([_moved(leaf) for name, leaf in block.items() if leads_out(name)]).sum()

    def added(self, out: Leaf) -> Tensor:
        return (out.weight.double() @ statistics_of(out).mean.double()).float()


def _moved(out: Leaf) -> Tensor:
    """The variance of what the matrix answers, summed over its channels: tr W Cov(X) Wᵀ."""
    known, weight = statistics_of(out), out.weight.double()
    square = (weight @ known.gram.double() * weight).sum() / max(1, known.count)
    return (square - (weight @ known.mean.double()).square().sum()).clamp_min(0)
