"""How much the loss over calibration text rises when one unit of the base alone is left out: measured, unit by unit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from reparam_core.data import Sequences
from reparam_core.gradients import answers_of, missed, truth_of
from reparam_core.methods.base import Method
from reparam_core.models import Model
from reparam_core.parametrizations import Leaf, Statistics
from reparam_core.resuming import Answers, Resumed, noting
from reparam_core.roles import layer_of
from reparam_core.statistics import Gathering, block_paths
from reparam_core.store import key, store

# Of the calibration text: every unit costs a pass over it, some minutes in all for thirty layers and ninety groups of heads.
# All are measured on the same tokens: more of them hardly change which matter least.
SEQUENCES, LENGTH = 4, 256
LOSSES = frozenset({"losses"})  # what a step needs that reads nothing of its inputs
Told = tuple[float, str]


@dataclass(frozen=True)
class _Block:
    """Units of which one at a time is left out."""

    name: str
    counts: Mapping[str, int]  # role of a matrix → how many units its columns are

    @property
    def count(self) -> int:
        return max(self.counts.values())

    @property
    def layer(self) -> str:
        return layer_of(next(iter(self.counts)))

    def columns(self, model: Model, unit: int) -> dict[str, Tensor]:
        """What of each matrix is that unit's."""
        return {role: torch.arange(model.matrices[role].shape[1]).view(count, -1)[unit]
                for role, count in self.counts.items()}  # fmt: skip

    def told(self, unit: int) -> str:
        return self.name if self.count == 1 else f"unit {unit + 1} of {self.name}"


def with_losses(
    model: Model, known: Mapping[str, Statistics], wanted: Mapping[str, Method], calibration: Sequences
) -> Gathering:
    """The same, and how much the base's loss rises without each unit of these roles' blocks, as their method divides them.

    Yields how much is done. A block is kept as soon as it is measured, so that what is broken off goes on from there.
    """
    blocks, read = _blocks(model, wanted), measured_on(calibration)
    missing = [one for one in blocks if store().get(_name(model, one, read)) is None]
    if missing:
        yield from _measure(model, missing, read, sum(one.count for one in blocks))
    found: dict[str, Tensor] = {}
    for one in blocks:
        kept = store().get(_name(model, one, read)) or {}
        for role, count in one.counts.items():
            width = model.matrices[role].shape[1] // count
            found[role] = torch.tensor(kept["rises"]).repeat_interleave(width)
    return {role: replace(one, rises=found.get(role)) for role, one in known.items()}


def measured_on(calibration: Sequences) -> Sequences:
    """The beginnings of the first sequences: what every unit's loss is taken over."""
    ids = calibration.ids[:SEQUENCES, :LENGTH].contiguous()
    return replace(calibration, ids=ids, sha256=hashlib.sha256(ids.numpy().tobytes()).hexdigest())


def numbers_read(model: Model, wanted: Mapping[str, Method]) -> int:
    """With how many numbers a token is multiplied until every unit was left out once."""
    layers, numbers = list(block_paths(model)), dict[str, int]()
    for role, one in model.matrices.items():
        if one.compressed_by_default or one.kind != "embedding" or one.tied:
            numbers[layer_of(role)] = numbers.get(layer_of(role), 0) + one.parameters
    outside = sum(count for layer, count in numbers.items() if layer not in layers)
    behind = {layer: outside + sum(numbers[one] for one in layers[place:]) for place, layer in enumerate(layers)}
    return sum(one.count * behind[one.layer] for one in _blocks(model, wanted))


def _blocks(model: Model, wanted: Mapping[str, Method]) -> list[_Block]:
    """Each method's own; a leaf of the right shape stands for a matrix, as no number of it matters."""
    found: dict[tuple[Method, str], dict[str, Leaf]] = {}
    for role, method in wanted.items():
        if (block := method.block(role)) is not None:
            shaped = Leaf("", torch.empty(model.matrices[role].shape, device="meta"), head=model.head_width(role))
            found.setdefault((method, block), {})[role] = shaped
    return [_Block(name, method.left_out(leaves)) for (method, name), leaves in found.items()]


def _name(model: Model, block: _Block, read: Sequences) -> str:
    return key(losses=model.sha256, columns=dict(block.counts), calibration=read.provenance())


def _measure(model: Model, missing: list[_Block], read: Sequences, total: int) -> Iterator[Told]:
    """Block after block into the store: the base reads the text once, then each unit's pass begins at its own layer."""
    behind, done = _Behind(model, read.ids), total - sum(one.count for one in missing)
    yield from behind.reading()
    for block in missing:
        resumed, rises = behind.from_layer(block.layer), list[float]()
        for unit in range(block.count):
            told = f"Measuring without {block.told(unit)}: {done + 1} of {total}"
            with _without(model, resumed.module, block.columns(model, unit)):
                rise = 0.0
                for index in range(len(read.ids)):
                    yield (done + index / len(read.ids)) / total, told
                    rise += behind.rise(resumed, index) / len(read.ids)
            rises.append(rise)
            done += 1
        store().put(_name(model, block, read), {"rises": rises}, model="", recipe="")


class _Behind:
    """What the untouched model's blocks answer, sequence by sequence, and the loss of a module that goes on from there."""

    def __init__(self, model: Model, read: Tensor) -> None:
        self.model, self.sequences, self.paths = model, read.split(1), block_paths(model)
        self._answers: list[Answers] = []
        self._truths: list[Tensor] = []
        self._losses: list[float] = []

    def reading(self) -> Iterator[Told]:
        """The base reads every sequence once."""
        for index, ids in enumerate(self.sequences):
            yield 0.0, f"Loss of the untouched model: {index} of {len(self.sequences)} sequences"
            known: dict[str, Any] = {}
            with torch.inference_mode():
                answers = answers_of(self.model, noting(self.model.module, self.paths.values(), known), ids)
                self._truths.append(truth_of(self.model, answers, ids))
                self._losses.append(float(missed(answers, self._truths[-1])))
            self._answers.append(known)

    def from_layer(self, layer: str) -> Resumed:
        """The base from the layer's block on."""
        layers = list(self.paths)
        return Resumed(self.model.module, [self.paths[one] for one in layers[: layers.index(layer)]])

    def rise(self, resumed: Resumed, index: int) -> float:
        """How much higher its loss is than the untouched model's, on one sequence."""
        resumed.known = self._answers[index]
        with torch.inference_mode():
            answers = answers_of(self.model, resumed, self.sequences[index])
            return float(missed(answers, self._truths[index])) - self._losses[index]


@contextmanager
def _without(model: Model, module: nn.Module, columns: Mapping[str, Tensor]) -> Iterator[None]:
    """While it lasts, these columns of the matrices meet nothing: what zeros there would answer, in whatever form."""
    with ExitStack() as hooks:
        for role, gone in columns.items():
            for path in model.users(role):
                one = module.get_submodule(path)
                hooks.callback(one.register_forward_pre_hook(partial(_dropped, gone)).remove)
        yield


def _dropped(gone: Tensor, _module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return given[0].index_fill(-1, gone, 0), *given[1:]
