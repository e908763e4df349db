"""Calibration text: never the text that quality is measured on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from reparam_core.data.sequences import Reader, Sequences, sequences
from reparam_core.data.texts import fingerprint
from reparam_core.errors import ReparamError, quoted
from reparam_core.recipes import Recipe

RUN = 32  # tokens in a row that both must not hold
SHORTEST = 8  # tokens of a row that is looked for as a whole: shorter ones are anybody's words
DEFAULT = "mixture"


def calibration(model: Reader, name: str = DEFAULT, count: int = 64, length: int = 512, offset: int = 0) -> Sequences:
    """The sequences whose statistics a data-aware method reads."""
    return sequences(model, name, count, length, offset)


def identity(recipe: Recipe) -> str:
    """What is measured with a recipe is kept under: its one string, and what the text that it reads holds now.

    A file may hold another text tomorrow.
    """
    return f"{recipe.canonical} {fingerprint(recipe.calibration.text)}" if recipe.reads else recipe.canonical


def refuse_overlap(calibrated: Tensor, evaluated: Tensor, name: str) -> None:
    """Raises ReparamError where 32 tokens in a row of the text of that name also stand in the calibration.

    Sequences of ids each, which follow on each other: a run may begin in one and end in the next.
    """
    seen = set(_runs(evaluated))
    if any(run in seen for run in _runs(calibrated)):
        raise _overlap(f"{RUN} tokens in a row", name)


def refuse_rows(calibrated: Tensor, rows: Iterable[Sequence[int]], name: str) -> None:
    """Raises ReparamError where the whole of a row of the table of that name also stands in the calibration."""
    read = _characters(calibrated.reshape(-1).tolist())
    if any(len(row) >= SHORTEST and _characters(row) in read for row in rows):
        raise _overlap("a whole row", name)


def _overlap(what: str, name: str) -> ReparamError:
    return ReparamError(f"The calibration holds {what} that quality is measured on, of {quoted(name)}.",
                        "Take another text for one of them, or another --calibration-offset.", topic="overlap")  # fmt: skip


def _characters(ids: Sequence[int]) -> str:
    """A character a token, since nothing is found as quickly as a string in another."""
    return "".join(map(chr, ids))


def _runs(ids: Tensor) -> Iterator[str]:
    """Every run of 32 ids."""
    read = _characters(ids.reshape(-1).tolist())
    return (read[start : start + RUN] for start in range(len(read) - RUN + 1))
