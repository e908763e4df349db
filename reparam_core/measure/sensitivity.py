"""What compressing one matrix alone costs: a second-order estimate of every cell, and its measurement behind what is unchanged."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pandas as pd
import torch
from torch import nn

from reparam_core.apply import Setting, base
from reparam_core.measure.evaluation import Evaluation
from reparam_core.measure.quality import Quality, quality_steps
from reparam_core.measure.spectra import kind_and_layer
from reparam_core.methods.base import Method
from reparam_core.models import Model
from reparam_core.recipes import Calibration, Recipe, Step
from reparam_core.resuming import Answers, Resumed, noting
from reparam_core.roles import layer_of
from reparam_core.splits.budget import Option, least_loss
from reparam_core.statistics import block_paths

K = TypeVar("K", bound=Hashable)
Cell = tuple[Step, str]  # a position, and the role of a matrix
Position = dict[str, Any]  # the fields of a setting, as a recipe writes them
# Where a step is tried beside where it stands, mildest first.
POSITIONS: dict[str, tuple[Position, ...]] = {
    "rank": tuple({"keep": tenths / 10} for tenths in range(9, 0, -1)),
    "sparsity": tuple({"fraction": tenths / 10} for tenths in range(1, 10)),
    "bits": tuple({"bits": width} for width in range(8, 1, -1)),  # of which a method has some
}
FEW = 8  # cells from which estimate and measurement are ranked against each other


@dataclass(frozen=True)
class Part:
    """What one matrix at one position costs and saves."""

    loss: float  # nats a token above the base, estimated
    bytes: int


def suited(kind: type[Method]) -> bool:
    """Does it look at one matrix at a time, so that each can be compressed alone?"""
    return not kind.removes and kind().unit == "matrix"


def positions(step: Step) -> list[Step]:
    """The step where it stands, and where else it is tried: mildest first."""
    own = step.as_json()
    tried = [step, *(_moved(step, own, one) for one in POSITIONS[step.axis] if _has(step, one))]
    return sorted(dict.fromkeys(tried), key=_mildness)


def _moved(step: Step, own: Mapping[str, Any], position: Position) -> Step:
    kept = {name: value for name, value in own.items() if name not in step.setting.choices}
    return Step.parse(step.axis, kept | position)


def _has(step: Step, position: Position) -> bool:
    """Has the method a form of that width?"""
    return position.get("bits") is None or position["bits"] in type(step.method).widths


def _mildness(step: Step) -> tuple[float, str]:
    setting = step.setting.model_dump()
    known = {"rank": (("keep", -1), ("rank", -1), ("parameters", -1), ("energy", -1)),
             "sparsity": (("fraction", 1), ("threshold", 1)), "bits": (("bits", -1),)}[step.axis]  # fmt: skip
    level = next((sign * setting[name] for name, sign in known if setting.get(name) is not None), 0.0)
    return level, step.short()


def alone(calibration: Calibration, role: str, step: Step) -> Recipe:
    """The recipe that does this to one matrix and nothing else."""
    return _recipe(calibration, [{"where": role, step.axis: step.as_json()}])


def everywhere(calibration: Calibration, step: Step, spared: Sequence[str] = ()) -> Recipe:
    """The step on every matrix of the blocks but for those that are spared."""
    rules: list[dict[str, Any]] = [{step.axis: step.as_json()}]
    rules += [{"where": _glob(spared), step.axis: None}] if spared else []
    return _recipe(calibration, rules)


def of_each(calibration: Calibration, chosen: Mapping[str, Step | None]) -> Recipe:
    """A step of its own for every matrix; None leaves it alone."""
    steps = dict.fromkeys(step for step in chosen.values() if step is not None)
    return _recipe(calibration, [{"where": _glob([role for role, one in chosen.items() if one == step]), step.axis: step.as_json()}
                                 for step in steps])  # fmt: skip


def _recipe(calibration: Calibration, rules: list[dict[str, Any]]) -> Recipe:
    return Recipe.parse({"rules": rules, "calibration": calibration.model_dump()})


def _glob(roles: Sequence[str]) -> str:
    return roles[0] if len(roles) == 1 else f"{{{','.join(roles)}}}"


def worst(losses: Mapping[str, float], count: int) -> list[str]:
    """The matrices that cost most, dearest first."""
    return heapq.nlargest(count, losses, key=lambda role: losses[role])


def split(options: Mapping[str, Sequence[tuple[K, Part]]], budget: int) -> dict[str, K]:
    """An option for each matrix: the least sum of estimated losses in that many bytes."""
    offered = {role: [Option(what, part.loss, part.bytes) for what, part in found] for role, found in options.items()}
    return least_loss(offered, budget)


@dataclass(frozen=True)
class Agreement:
    """How well the estimates order the cells that were measured."""

    correlation: float  # Spearman's
    cells: int


def agreement(estimated: Mapping[K, float], measured: Mapping[K, float]) -> Agreement | None:
    """Of the cells that have both; None below eight, or where all are alike."""
    both = [cell for cell in measured if cell in estimated]
    if len(both) < FEW:
        return None
    ranked = pd.Series([estimated[cell] for cell in both]).corr(
        pd.Series([measured[cell] for cell in both]), "spearman"
    )
    found = float(ranked)
    return None if math.isnan(found) else Agreement(found, len(both))


def uncertain(estimated: Mapping[Cell, float], measured: Mapping[Cell, float]) -> dict[Cell, float]:
    """Cell → how far off its estimate may be, in nats: the estimate times how far those of its kind missed.

    That is the root mean square of measurement over estimate less `scale`, over the measured cells of its kind of matrix;
    of a kind without any, over all. Below eight measured cells it is the estimate: what is large can miss most.
    """
    factor = scale(estimated, measured) or 1.0
    missed: dict[str | None, list[float]] = {}
    for step, role in (cell for cell in measured if estimated.get(cell, 0.0) > 0):
        square = (measured[step, role] / estimated[step, role] - factor) ** 2
        for kind in (kind_and_layer(role)[0], None):
            missed.setdefault(kind, []).append(square)
    if len(missed.get(None, ())) < FEW:
        return dict(estimated)
    spread = {kind: math.sqrt(sum(squares) / len(squares)) for kind, squares in missed.items()}
    return {cell: loss * spread.get(kind_and_layer(cell[1])[0], spread[None]) for cell, loss in estimated.items()}


def scale(estimated: Mapping[K, float], measured: Mapping[K, float]) -> float | None:
    """What estimates are multiplied by, so that those of the measured cells add up to what was measured.

    A second-order estimate takes the tokens' gradients for independent and misses that a loss levels off: of strong
    settings it is several times too large. None below eight cells, or where nothing was lost.
    """
    both = [cell for cell in measured if cell in estimated]
    return (
        scale_of_sum([estimated[cell] for cell in both], sum(measured[cell] for cell in both))
        if len(both) >= FEW
        else None
    )


def scale_of_sum(estimated: Iterable[float], lost: float) -> float | None:
    """The same where only what all of them lost together is known; None where that is nothing."""
    foretold = sum(estimated)
    return lost / foretold if lost > 0 and foretold > 0 else None


# Measured, behind what is unchanged


class Behind:
    """The base's hidden states before every block, so that a change is scored from its own block on."""

    def __init__(self, model: Model, dtype: torch.dtype, asked: Evaluation) -> None:
        self.model, self.dtype, self.asked = model, dtype, asked
        self.module = base(model, dtype).module
        self.paths = block_paths(model)  # layer → its block, in the order of use
        self._answers: list[dict[str, Any]] = []  # a probe: block → what it answered

    def reading(self) -> Iterator[float]:
        """The base reads every probe once: yields which share is read."""
        for probe in self.asked.probes[len(self._answers) :]:
            yield len(self._answers) / len(self.asked.probes)
            self._answers.append(self._read(probe.inputs))

    def _read(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        with torch.inference_mode():
            noting(self.module, self.paths.values(), answers)(**inputs)
        return answers

    def steps(self, setting: Setting) -> Iterator[Quality]:
        """`quality_steps` of a setting that changes nothing before the first block of those that it names."""
        layers = list(self.paths)
        first = min((layers.index(layer_of(role)) for role in setting.forms if layer_of(role) in self.paths), default=0)
        outside = any(layer_of(role) not in self.paths for role in setting.forms)
        skipped = [] if outside else [self.paths[layer] for layer in layers[:first]]
        resumed = replace(setting, module=_Resumed(setting.module, skipped, self.asked, self._answers))
        yield from quality_steps(resumed, self.asked, kl_probes=0)


class _Resumed(Resumed):
    """A setting's module that runs the blocks from the changed one on."""

    def __init__(
        self, module: nn.Module, skipped: Sequence[str], asked: Evaluation, answers: Sequence[Answers]
    ) -> None:
        super().__init__(module, skipped)
        self._answers = {
            id(next(iter(probe.inputs.values()))): own for probe, own in zip(asked.probes, answers, strict=True)
        }

    def forward(self, **inputs: Any) -> Any:
        """One of the evaluation's probes, which are told apart by being the very same tensors."""
        self.known = self._answers[id(next(iter(inputs.values())))]
        return super().forward(**inputs)
