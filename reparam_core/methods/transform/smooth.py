"""Scaling between adjacent matrices, by SmoothQuant's rule (Xiao et al., 2023, equation 4) wherever it costs no byte."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.methods.rewriting import Network, Transform
from reparam_core.registry import register_transform

LEAST, MOST = -10, 12  # log₂ of what a channel's largest number becomes at least and at most: float16 has -14 to 16


@register_transform
@dataclass(frozen=True)
class Smooth(Transform):
    """What goes from one matrix to the next is divided by s_j, channel by channel, and the next one's columns multiplied.

    A norm's gain passes it on to q, k and v or to gate and up; the rows of up to the columns of down, as the gate's
    activation multiplies and nothing else; a head of v to the columns of o that read it, one s for all query heads that
    share it. The authors scale behind norms alone. The norm before a tied head stays.

    A factor of all channels alters nothing: the geometric mean of s is 1, so that gains and weights keep their size.
    Where a channel is never used, or one of the two is all zero there, s_j = 1.
    """

    name: ClassVar[str] = "smooth"
    summary: ClassVar[str] = "scales channels between adjacent matrices"
    formula: ClassVar[str] = (
        r"W_2W_1x=\big(W_2\,\mathrm{diag}(s)\big)\big(\mathrm{diag}(s)^{-1}W_1\big)x,"
        r"\\ s_j\propto\frac{\max|X_j|^{\alpha}}{\max|W_{2,:j}|^{1-\alpha}}"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"range"})

    strength: Annotated[float, Field(ge=0, le=1)] = 0.5  # α: how much of the inputs' range goes into the weights

    def rewrite(self, network: Network) -> Network:
        for v, o in network.values:
            network = self._between(network, v, o, network.head)
        for up, down in network.gated:
            network = self._between(network, up, down, len(network.weights[up]))
        for path, norm in network.norms.items():  # last, so that the rule sees the rows of v and up as they will be
            if norm.readers:
                network = self._behind(network, path)
        return network

    def _between(self, network: Network, first: str, second: str, head: int) -> Network:
        """Rows of the first divided, columns of the second multiplied; several heads of those may read one of these."""
        before, after, bias = network.weights[first], network.weights[second], network.biases.get(first)
        earlier = before.abs().amax(1) if bias is None else torch.maximum(before.abs().amax(1), bias.abs())
        readers = (len(before) // head, -1, head)  # of every head, the channels (heads, readers of each, head)
        peak, later = (one.view(readers).amax(1).view(-1) for one in (network.peaks[second], after.abs().amax(0)))
        s = scale(peak, earlier, later, self.strength)
        columns = s.view(-1, 1, head).expand_as(after[0].view(readers)).reshape(-1)
        biases = {} if bias is None else {first: bias / s}
        return replace(network, biases={**network.biases, **biases},
                       weights={**network.weights, first: before / s[:, None], second: after * columns})  # fmt: skip

    def _behind(self, network: Network, path: str) -> Network:
        """The gain divided, the columns of all that read it multiplied by one s."""
        norm = network.norms[path]
        later = torch.stack([network.weights[role].abs().amax(0) for role in norm.readers]).amax(0)
        s = scale(network.peaks[norm.readers[0]], norm.gain.abs(), later, self.strength)
        return replace(network, norms={**network.norms, path: replace(norm, gain=norm.gain / s)},
                       weights={**network.weights, **{role: network.weights[role] * s for role in norm.readers}})  # fmt: skip


def scale(peak: Tensor, earlier: Tensor, later: Tensor, strength: float) -> Tensor:
    """s (channels): peak^α / later^(1−α) over its geometric mean.

    Of every channel: the largest |x|, and the largest numbers that are divided and multiplied by s. These stay between
    2^LEAST and 2^MOST; what lies beyond already is not moved further out.
    """
    used = torch.stack([(one > 0) & one.isfinite() for one in (peak, earlier, later)]).all(0)
    x, e, w = (torch.where(used, one, 1).double().log2() for one in (peak, earlier, later))
    ideal = strength * x - (1 - strength) * w
    ideal -= ideal[used].mean()
    low = torch.maximum(e - MOST, LEAST - w).clamp_max(0)
    high = torch.minimum(e - LEAST, MOST - w).clamp_min(0)
    return torch.where(used, ideal.clamp(low, high), 0).exp2().float()
