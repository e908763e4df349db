"""What a rewrite that keeps the function works on, and what every such rewrite promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Norm:
    """An RMSNorm on the residual stream x (d): it answers behind · (gain ⊙ x / rms(x))."""

    gain: Tensor  # (d,)
    readers: tuple[str, ...]  # roles of the matrices that take its answer; none where a tied head does
    behind: Tensor | None = None  # (d, d), computed at every token; None: nothing


@dataclass(frozen=True)
class Network:
    """The numbers of a decoder with RMSNorm, by role: what writes to the residual stream and what reads from it.

    Nothing in it is written to: a rewrite answers with another network that shares what it left alone.
    """

    weights: Mapping[str, Tensor]  # role → W (out, in)
    biases: Mapping[str, Tensor]  # role → (out,)
    norms: Mapping[str, Norm]  # module → norm
    embedding: str  # the role whose rows begin the stream
    writers: tuple[str, ...]  # roles whose answers are added to the stream
    values: tuple[tuple[str, str], ...]  # the roles of v and o of every block
    gated: tuple[tuple[str, str], ...]  # of up and down: down takes up ⊙ act(gate)
    head: int  # rows of v that are one head
    inner_norms: bool  # do norms stand between what writes and the stream?
    peaks: Mapping[str, Tensor] = field(
        default_factory=dict
    )  # role → largest |x| of every channel of its input, where asked

    @property
    def width(self) -> int:
        """d, the width of the residual stream."""
        return self.weights[self.embedding].shape[1]


@dataclass(frozen=True)
class Transform(ABC):
    """Frozen and hashable; its fields and the network are all that it reads.

    The rewritten model's key is made of them, with the calibration text where `needs` says that it is read.
    """

    name: ClassVar[str]
    summary: ClassVar[str]  # what it does, in about six words
    formula: ClassVar[str] = ""  # lines of LaTeX: W is (out, in), x a token's residual stream
    needs: ClassVar[frozenset[str]] = frozenset()  # range: the network's peaks, over calibration text
    takes: ClassVar[str] = "whole decoders with RMSNorm"  # in words

    def refuse(self, network: Network) -> None:
        """Raises ReparamError where it cannot keep this network's function: asked before any number is touched."""
        return

    @abstractmethod
    def rewrite(self, network: Network) -> Network:
        """The same function of the tokens in other numbers."""

    def own_fields(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        return {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}

    def as_json(self) -> dict[str, Any]:
        """As a recipe writes it."""
        return {"method": self.name} | self.own_fields()

    def identity(self) -> dict[str, Any]:
        """What distinguishes this instance: name and fields, as plain JSON."""
        return {"method": self.name} | asdict(self)

    def short(self) -> str:
        """`rotate`; fields of its own, which the short form has no place for, in brackets."""
        own = ", ".join(f"{name} {value}" for name, value in self.own_fields().items())
        return f"{self.name}{own and f' ({own})'}"


def folded(network: Network) -> Network:
    """Every norm's gain goes into the columns of what reads it: W ← W · diag(g), g ← 1.

    The norm before a tied head keeps its gain: the embedding, the same numbers, has no such factor.
    """
    weights, norms = dict(network.weights), dict(network.norms)
    for path, norm in network.norms.items():
        if norm.readers:
            weights |= {role: network.weights[role] * norm.gain for role in norm.readers}
            norms[path] = replace(norm, gain=torch.ones_like(norm.gain))
    return replace(network, weights=weights, norms=norms)
