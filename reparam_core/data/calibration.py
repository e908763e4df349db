"""Calibration text: never the text that quality is measured on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from reparam_core.data.sequences import Reader, Sequences, sequences
from reparam_core.data.texts import fingerprint
from reparam_core.errors import ReparamError
from reparam_core.recipes import Recipe

RUN = 32  # tokens in a row that both must not hold
DEFAULT = "mixture"


def calibration(model: Reader, name: str = DEFAULT, count: int = 64, length: int = 512, offset: int = 0) -> Sequences:
    """The sequences whose statistics a data-aware method reads."""
    return sequences(model, name, count, length, offset)


def identity(recipe: Recipe) -> str:
    """What is measured with a recipe is kept under: its one string, and what the text that it reads holds now.

    A file may hold another text tomorrow.
    """
    return f"{recipe.canonical} {fingerprint(recipe.calibration.text)}" if recipe.reads else recipe.canonical


def refuse_overlap(calibrated: Tensor, evaluated: Tensor) -> None:
    """Raises ReparamError where 32 evaluated tokens in a row also stand in the calibration; sequences of ids each.

    A text's sequences follow on each other, so a run may begin in one and end in the next.
    """
    seen = set(_runs(evaluated))
    if any(run in seen for run in _runs(calibrated)):
        raise ReparamError(f"The calibration holds {RUN} tokens in a row that quality is measured on.",
                           "Take another text for one of them, or another --calibration-offset.", topic="overlap")  # fmt: skip


def _runs(ids: Tensor) -> Iterator[bytes]:
    """Every run of 32 ids, as bytes."""
    raw = ids.to(torch.int64).reshape(-1).numpy()
    return (raw[start : start + RUN].tobytes() for start in range(len(raw) - RUN + 1))
