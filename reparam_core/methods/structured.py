"""Pruning that shrinks: whole units of a block, with every row and every column that is theirs."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.base import Method, Prepared, Unit, finite, role_of, shape_of, statistics_of
from reparam_core.methods.hessian import inverse_factor, walk_columns
from reparam_core.methods.settings import SparsitySetting
from reparam_core.parametrizations import Dense, Leaf, Parametrization, Sliced

STACK = r"(?:encoder\.|decoder\.)?layers\.\d+"
LEADING_OUT = ("o", "down")  # a unit's columns are theirs, of the others its rows
Block = Mapping[str, Leaf]  # leaves by name that share units


class Removing(Method):
    """What all of these have in common: a share of units goes, those of the least score, ties by index."""

    axis: ClassVar[str] = "sparsity"
    patterns: ClassVar[bool] = False
    members: ClassVar[re.Pattern[str]]  # roles of a block's matrices, with the block's name as the group

    @property
    def unit(self) -> Unit:
        return "layer"

    def block(self, role: str) -> str | None:
        found = self.members.fullmatch(role)
        return found and found.group(1)

    @abstractmethod
    def count(self, block: Block) -> int:
        """How many units the block has."""

    def left_out(self, block: Block) -> dict[str, int]:
        return {name: self.count(block) for name in block if leads_out(name)}

    def refuse(self, setting: SparsitySetting, shape: tuple[int, int]) -> None:
        if setting.fraction is None or setting.block is not None:
            raise ReparamError(f"{self.name} takes a share of what there is, and has no pattern, blocks or threshold.",
                               f"Give a fraction, as in {self.name}:0.25.")  # fmt: skip

    def units_of(self, block: Block) -> str:
        """What its units are called, as the block has them."""
        return self.removes

    def worked(self, leaves: Block, setting: SparsitySetting) -> str:
        self.refuse(setting, (0, 0))
        title = self.block(role_of(next(iter(leaves))))
        block = {name: leaf for name, leaf in leaves.items() if self.block(role_of(name)) == title}
        count, numbers = self.count(block), sum(leaf.weight.numel() for leaf in block.values())
        gone = going(count, setting.fraction or 0)
        told = (
            f"{gone:,} of {count:,} {self.units_of(block)} go, {gone * numbers // count:,} of their {numbers:,} numbers"
        )
        return told if gone or count == 1 else f"{told}; the first goes at {math.ceil(100 / count)} %"

    def blocks(self, leaves: Mapping[str, Leaf]) -> dict[str, Block]:
        """Each block's leaves. Raises ReparamError where a matrix is several parts, none of which has a unit's numbers."""
        found: dict[str, dict[str, Leaf]] = {}
        for name, leaf in leaves.items():
            block = found.setdefault(str(self.block(role_of(name))), {})
            if role_of(name) in map(role_of, block):
                raise ReparamError(f"{self.name} needs whole matrices, and {role_of(name)} is in parts already.",
                                   "Start from the model that it was made of.")  # fmt: skip
            finite(leaf.weight)
            block[name] = leaf
        return dict(found)


class RemovingUnits(Removing):
    """Units inside a block: equal runs of rows of the matrices that lead into it, and of columns of the one out of it."""

    def scores(self, block: Block, count: int) -> Prepared:
        """What every unit is worth under `scores`, (count), and whatever else `remaining` will want."""
        return {"scores": norms(block, count)}

    def remaining(self, out: Leaf, kept: Tensor, prepared: Prepared) -> Dense:
        """The kept columns of the matrix that leads out."""
        return Dense(out.weight.index_select(1, kept), out.storage)

    def added(self, out: Leaf, kept: Tensor, prepared: Prepared) -> Tensor | None:
        """What the answers of the matrix that leads out get in the place of the columns that went, (out); None: nothing."""
        return None

    def prepare(self, leaves: Mapping[str, Leaf]) -> Prepared:
        made = {name: self.scores(block, self.count(block)) for name, block in self.blocks(leaves).items()}
        return {f"{block}/{name}": value for block, own in made.items() for name, value in own.items()}

    def at(
        self, prepared: Prepared, leaves: Mapping[str, Leaf], setting: SparsitySetting
    ) -> dict[str, Parametrization]:
        self.refuse(setting, (0, 0))
        forms: dict[str, Parametrization] = {}
        for title, block in self.blocks(leaves).items():
            prefix = f"{title}/"
            own = {name.removeprefix(prefix): value for name, value in prepared.items() if name.startswith(prefix)}
            kept = highest(own["scores"], setting.fraction or 0)
            forms |= {name: self._cut(name, leaf, kept, own) for name, leaf in block.items()}
        return forms

    def _cut(self, name: str, leaf: Leaf, kept: Tensor, prepared: Prepared) -> Parametrization:
        """The leaf without the rows or the columns of what is not kept."""
        count, shape = len(prepared["scores"]), shape_of(leaf)
        if len(kept) == count:
            return Dense(leaf.weight, leaf.storage)
        if leads_out(name):
            columns = members(kept, shape[1] // count)
            rest = self.remaining(leaf, columns, prepared)
            return Sliced(rest, shape, None, columns, self.added(leaf, columns, prepared))
        rows = members(kept, shape[0] // count)
        return Sliced(Dense(leaf.weight.index_select(0, rows), leaf.storage), shape, rows, None)


@dataclass(frozen=True)
class Rebuilding(RemovingUnits):
    """What stays of the matrix that leads out makes up for what went (optimal brain surgeon).

    A unit's score is the least loss of the block's output when it alone goes and the others make up for it: the trace of
    W_u ([H⁻¹]_uu)⁻¹ W_uᵀ. All units g go at once, and what stays, k, is W_k − W_g ([H⁻¹]_gg)⁻¹ [H⁻¹]_gk; the authors
    remove one, update, and look again. Nothing is added to the answers, as `Averaging` does: X is not centred, so the
    others make up for what a unit adds to every token, too. What an earlier step pruned of k stays zero, for which in
    turn the columns to its right make up, as in SparseGPT's walk: near the least squares of such rows, and not at them.
    """

    formula: ClassVar[str] = (
        r"s_u=\big(\operatorname{tr}W_u([H^{-1}]_{uu})^{-1}W_u^\top\big)^{1/2},"
        r"\\ W'_k=W_k-W_g([H^{-1}]_{gg})^{-1}[H^{-1}]_{gk}"
    )
    instant: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"gram"})
    damping: Annotated[float, Field(gt=0)] = 0.01  # of the mean of the Hessian's diagonal

    def scores(self, block: Block, count: int) -> Prepared:
        out = out_of(block)
        upper = inverse_factor(statistics_of(out), self.damping).double()
        inverse = upper.T @ upper
        width = len(inverse) // count
        own = inverse.view(count, width, count, width).diagonal(dim1=0, dim2=2).movedim(-1, 0)  # (count, width, width)
        columns = out.weight.double().view(-1, count, width).permute(1, 2, 0)  # (count, width, out)
        lost = (columns * torch.linalg.solve(own, columns)).sum((1, 2))
        return {"scores": lost.sqrt().float(), "inverse": inverse.float()}

    def remaining(self, out: Leaf, kept: Tensor, prepared: Prepared) -> Dense:
        weight, inverse = out.weight.double(), prepared["inverse"].double()
        gone = torch.ones(len(inverse), dtype=torch.bool).index_fill_(0, kept, False)
        update = torch.linalg.solve(inverse[gone][:, gone], inverse[gone][:, kept])  # (gone, kept)
        solved = (weight[:, kept] - weight[:, gone] @ update).float()
        if out.mask is None:
            return Dense(solved)
        factor, mask = inverse_factor(statistics_of(out).sliced(None, kept), self.damping), out.mask[:, kept]
        return Dense(walk_columns(solved, factor, lambda j, now: now[:, j] * mask[:, j]))


@dataclass(frozen=True)
class Averaging(RemovingUnits):
    """What goes is taken for its mean over the calibration text, and what that adds is a bias (FLAP's).

    A unit's score is how much its part of the output moves around that mean, channel by channel: Σ_j Var(X_j) ‖W_{:,j}‖².
    The authors square a channel's part before they add up a head's, and by default let all layers compete by standardised
    scores; here every block loses the same share.
    """

    formula: ClassVar[str] = (
        r"s_u=\sum_{j\in u}\operatorname{Var}(X_j)\,\lVert W_{:,j}\rVert_2^2,"
        r"\\ WX\approx W_kX_k+W_g\operatorname{E}[X_g]"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"gram", "mean"})

    def scores(self, block: Block, count: int) -> Prepared:
        out = out_of(block)
        known = statistics_of(out)
        moved = known.variance * out.weight.float().square().sum(0)
        return {"scores": moved.view(count, -1).sum(1), "mean": known.mean}

    def added(self, out: Leaf, kept: Tensor, prepared: Prepared) -> Tensor:
        gone = prepared["mean"].double().index_fill(0, kept, 0)
        return (out.weight.double() @ gone).float()


class RemovingHeads(RemovingUnits):
    """Attention heads; queries that share a key/value head are one unit with it."""

    removes: ClassVar[str] = "attention heads"
    takes: ClassVar[str] = "every matrix of an attention together"

    members: ClassVar[re.Pattern[str]] = re.compile(rf"({STACK}\.(?:attention|cross))\.[qkvo]")

    def count(self, block: Block) -> int:
        k = next(leaf for name, leaf in block.items() if role_of(name).endswith(".k"))
        return k.weight.shape[0] // (k.head or 1)

    def units_of(self, block: Block) -> str:
        rows = {role_of(name).rpartition(".")[2]: leaf.weight.shape[0] for name, leaf in block.items()}
        shared = rows["q"] // rows["k"]
        return super().units_of(block) if shared == 1 else f"key/value heads (each with its {shared} heads of queries)"


class RemovingNeurons(RemovingUnits):
    """Hidden neurons of an MLP, gated or not."""

    removes: ClassVar[str] = "hidden neurons"
    takes: ClassVar[str] = "every matrix of an MLP together"

    members: ClassVar[re.Pattern[str]] = re.compile(rf"({STACK}\.mlp)\.(?:up|gate|down)")

    def count(self, block: Block) -> int:
        return out_of(block).weight.shape[1]


class RemovingLayers(Removing):
    """Whole layers: every matrix of theirs loses every row, or every column where something is added in their place."""

    removes: ClassVar[str] = "transformer layers"
    takes: ClassVar[str] = "every matrix of the layers together"

    members: ClassVar[re.Pattern[str]] = re.compile(rf"({STACK})\.(?:attention|cross|mlp)\.\w+")

    @property
    def unit(self) -> Unit:
        return "model"

    def count(self, block: Block) -> int:
        return 1

    def worked(self, leaves: Block, setting: SparsitySetting) -> str:
        self.refuse(setting, (0, 0))
        layers = {block for name in leaves if (block := self.block(role_of(name)))}
        counts = [len(stack) for stack in stacks(layers)]
        gone = sum(going(count, setting.fraction or 0) for count in counts)
        told = f"{gone:,} of {len(layers):,} layers go"
        return told if gone else f"{told}; the first goes at {math.ceil(100 / max(counts))} %"

    @abstractmethod
    def score(self, block: Block) -> Tensor:
        """What the layer is worth, a number."""

    def added(self, out: Leaf) -> Tensor | None:
        """What a matrix that leads out answers in the place of all that it was, (out); None: nothing."""
        return None

    def prepare(self, leaves: Mapping[str, Leaf]) -> Prepared:
        return {name: self.score(block).reshape(1) for name, block in self.blocks(leaves).items()}

    def at(
        self, prepared: Prepared, leaves: Mapping[str, Leaf], setting: SparsitySetting
    ) -> dict[str, Parametrization]:
        self.refuse(setting, (0, 0))
        kept = {
            names[place]
            for names in stacks(prepared)
            for place in highest(torch.cat([prepared[name] for name in names]), setting.fraction or 0).tolist()
        }
        return {name: Dense(leaf.weight, leaf.storage) if self.block(role_of(name)) in kept else self._gone(name, leaf)
                for name, leaf in leaves.items()}  # fmt: skip

    def _gone(self, name: str, leaf: Leaf) -> Sliced:
        """A matrix of which nothing is left, but for what is added in its place."""
        shape, none = shape_of(leaf), torch.empty(0, dtype=torch.int64)
        added = self.added(leaf) if leads_out(name) else None
        if added is None:
            return Sliced(Dense(leaf.weight[:0], leaf.storage), shape, none, None)
        return Sliced(Dense(leaf.weight[:, :0], leaf.storage), shape, None, none, added)


def stacks(layers: Iterable[str]) -> list[list[str]]:
    """The layers of each stack, from the first to the last."""
    found: dict[str, list[str]] = {}
    for name in sorted(layers, key=lambda one: int(one.rpartition(".")[2])):
        found.setdefault(name.rpartition("layers.")[0], []).append(name)
    return list(found.values())


def leads_out(name: str) -> bool:
    """Are a unit's numbers columns of that leaf's matrix?"""
    return role_of(name).rpartition(".")[2] in LEADING_OUT


def out_of(block: Block) -> Leaf:
    """The matrix whose columns are the units'."""
    return next(leaf for name, leaf in block.items() if leads_out(name))


def norms(block: Block, count: int) -> Tensor:
    """‖·‖₂ of all numbers that go with each unit, (count)."""
    total = torch.zeros(count)
    for name, leaf in block.items():
        total += leaf.weight.float().square().sum(0 if leads_out(name) else 1).view(count, -1).sum(1)
    return total.sqrt()


def rises(block: Block, count: int) -> Tensor:
    """How much the loss rises without each unit, (count). Raises ReparamError where it is not known, or not finite."""
    found = statistics_of(out_of(block)).rises
    if found is None:
        raise ReparamError(
            "This step needs the loss without each unit, which was not measured.", "Give calibration text."
        )
    if not torch.isfinite(found).all():
        raise ReparamError("Without a unit the loss over the calibration text is not finite.", "Take another text.")
    return found.view(count, -1)[:, 0]


def highest(scores: Tensor, fraction: float) -> Tensor:
    """What is left of the units once floor(fraction · count) of the least score went, rising, int64."""
    return scores.argsort(stable=True)[going(len(scores), fraction) :].sort().values


def going(count: int, fraction: float) -> int:
    """How many of so many units go: floor(fraction · count), never all."""
    return min(int(fraction * count), count - 1)


def members(units: Tensor, width: int) -> Tensor:
    """The places of these units' rows or columns, each unit being `width` neighbours."""
    return (units[:, None] * width + torch.arange(width)).reshape(-1)
