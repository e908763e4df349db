"""Residual stream and heads in a rotated basis (QuaRot: Ashkboos et al., 2024, stage 1)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.rewriting import Network, Norm, Transform, folded
from reparam_core.registry import register_transform


@register_transform
@dataclass(frozen=True)
class Rotate(Transform):
    """x ← R x: what writes to the stream turns by R, what reads from it back by Rᵀ; heads likewise between v and o.

    rms(R x) = rms(x), so that a norm without gain lets R pass. Before a tied head the gain stays and goes with the head's
    half of the rotation into one matrix R diag(g) Rᵀ, computed at every token: d² numbers instead of a head of its own.
    QuaRot's rotations at run time, before the MLP's last matrix and of keys and queries, are left out.
    """

    name: ClassVar[str] = "rotate"
    summary: ClassVar[str] = "rotates the residual stream and heads"
    formula: ClassVar[str] = (
        r"x\leftarrow Rx,\; W_{\mathrm{in}}\leftarrow W_{\mathrm{in}}\,\mathrm{diag}(g)\,R^{\top},\; W_{\mathrm{out}}\leftarrow R\,W_{\mathrm{out}}"
        r",\\ R=(H_{2^k}\otimes Q)\,\mathrm{diag}(\pm1),\quad W_v\leftarrow HW_v,\; W_o\leftarrow W_oH^{\top}"
    )

    kind: Literal["hadamard", "orthogonal"] = "hadamard"
    heads: bool = True
    seed: int = 0

    def refuse(self, network: Network) -> None:
        if network.inner_norms:
            raise ReparamError("rotate needs blocks that write to the residual stream with no norm between, and this "
                               "model has norms behind attention and MLP.", "Take fold-norms, or another model.")  # fmt: skip

    def rewrite(self, network: Network) -> Network:
        drawn = torch.Generator().manual_seed(self.seed)
        turned = _stream(folded(network), self._matrix(network.width, drawn))
        return _heads(turned, self._matrix(network.head, drawn)) if self.heads else turned

    def _matrix(self, size: int, drawn: torch.Generator) -> Tensor:
        hadamard = hadamard_order(size) if self.kind == "hadamard" else 1
        return rotation(size, hadamard, drawn).float()


def rotation(size: int, hadamard: int, drawn: torch.Generator) -> Tensor:
    """(size, size), orthogonal, float64: a Hadamard matrix of that order ⊗ a random rotation of the rest, signs drawn."""
    whole = torch.ones(1, 1, dtype=torch.float64)
    while len(whole) < hadamard:  # Sylvester, 1867
        whole = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64), whole)
    rest = torch.randn(size // hadamard, size // hadamard, dtype=torch.float64, generator=drawn)
    signs = torch.randint(2, (size,), generator=drawn) * 2.0 - 1.0
    return torch.kron(whole / hadamard**0.5, torch.linalg.qr(rest).Q.contiguous()) * signs


def hadamard_order(size: int) -> int:
    """The largest power of two that divides it."""
    return size & -size


def _stream(network: Network, r: Tensor) -> Network:
    """Every writer turned, every reader turned back."""
    weights = dict(network.weights)
    weights[network.embedding] = weights[network.embedding] @ r.T
    weights |= {role: r @ weights[role] for role in network.writers}
    norms: Mapping[str, Norm] = {path: _norm(norm, r) for path, norm in network.norms.items()}
    weights |= {role: weights[role] @ r.T for norm in norms.values() for role in norm.readers}
    biases = dict(network.biases) | {
        role: r @ network.biases[role] for role in network.writers if role in network.biases
    }
    return replace(network, weights=weights, biases=biases, norms=norms)


def _norm(norm: Norm, r: Tensor) -> Norm:
    """A gain that stays would not let R pass: it goes into the map behind the norm."""
    if norm.readers:
        return norm
    before = torch.diag(norm.gain) if norm.behind is None else norm.behind * norm.gain
    return replace(norm, gain=torch.ones_like(norm.gain), behind=r @ before @ r.T)


def _heads(network: Network, h: Tensor) -> Network:
    """Attention mixes tokens and leaves the numbers of a head apart from each other: H passes from v to o."""
    weights, biases = dict(network.weights), dict(network.biases)
    for v, o in network.values:
        weights[v] = _rows(weights[v], h)
        weights[o] = _rows(weights[o].T, h).T.contiguous()
        if v in biases:
            biases[v] = _rows(biases[v][:, None], h)[:, 0]
    return replace(network, weights=weights, biases=biases)


def _rows(weight: Tensor, h: Tensor) -> Tensor:
    """H on the rows of every head."""
    return (h @ weight.reshape(-1, len(h), weight.shape[1])).reshape(weight.shape)
