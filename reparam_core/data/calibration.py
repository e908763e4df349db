"""Calibration text: never the text that quality is measured on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from reparam_core.data.sequences import Reader, Sequences, sequences
from reparam_core.errors import ReparamError

RUN = 32  # tokens in a row that both must not hold
DEFAULT = "mixture"


def calibration(model: Reader, name: str = DEFAULT, count: int = 64, length: int = 512, offset: int = 0) -> Sequences:
    """The sequences whose statistics a data-aware method reads."""
    return sequences(model, name, count, length, offset)


def refuse_overlap(calibrated: Tensor, evaluated: Tensor) -> None:
    """Raises ReparamError where 32 evaluated tokens in a row, ids of (N, L) each, also stand in the calibration."""
    seen = {run for row in evaluated for run in _runs(row)}
    if any(run in seen for row in calibrated for run in _runs(row)):
        raise ReparamError(f"The calibration holds {RUN} tokens in a row that quality is measured on.",
                           "Take another text for one of them, or another --calibration-offset.")  # fmt: skip


def _runs(row: Tensor) -> Iterator[bytes]:
    """Every run of 32 ids, as bytes."""
    width = min(RUN, len(row))
    raw = row.to(torch.int64).contiguous().numpy()
    return (raw[start : start + width].tobytes() for start in range(len(raw) - width + 1))
