"""Calibration text: never the text that quality is measured on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from reparam_core.data.sequences import Reader, Sequences, sequences
from reparam_core.data.texts import SENTENCES, fingerprint
from reparam_core.errors import ReparamError, quoted
from reparam_core.recipes import Recipe

RUN = 32  # tokens in a row that both must not hold
SHORTEST = 8  # tokens of a row that is looked for as a whole: shorter ones are anybody's words
DEFAULT = "mixture"
ROUNDING = 1e-9  # of a share times a count


def calibration(
    model: Reader, name: str = DEFAULT, count: int = 64, length: int = 512, offset: int = 0, sentences: float = 0.0
) -> Sequences:
    """The sequences whose statistics a data-aware method reads; that share of them is of the shipped sentences."""
    own = sequences(model, name, own_count(count, sentences), length, offset)
    return with_sentences(model, own, count, sentences)


def own_count(count: int, sentences: float) -> int:
    """How many of the sequences are of the text itself. Raises ReparamError for what is no share of them."""
    if not 0 <= sentences < 1:
        raise ReparamError(
            f"A share of {sentences} of the sequences cannot be sentences.", "Give one from 0 to below 1."
        )
    return count - sum(_turns(count, sentences))


def with_sentences(model: Reader, own: Sequences, count: int, sentences: float) -> Sequences:
    """A text's own sequences with others of the shipped sentences between them, so that any first part has that share.

    Those begin where the text itself, if it held the same sentences, would have ended.
    """
    turns = _turns(count, sentences)
    if not any(turns):
        return own
    length = own.ids.shape[1]
    others = sequences(model, SENTENCES, sum(turns), length, own.offset + count * length)
    known, rows = {False: iter(own.ids), True: iter(others.ids)}, list[Tensor]()
    for turn in turns:
        if (row := next(known[turn], None)) is None:  # of a short text fewer are had, in the same share
            break
        rows.append(row)
    content = hashlib.sha256(f"{own.sha256} {others.sha256}".encode()).hexdigest()
    return replace(own, ids=torch.stack(rows), sha256=content, bytes=None, sentences=sentences)


def _turns(count: int, share: float) -> list[bool]:
    """Of each sequence, whether it is of the sentences: never the first."""
    before = [math.floor(index * share + ROUNDING) for index in range(count + 1)]
    return [after > so_far for so_far, after in pairwise(before)]


def identity(recipe: Recipe) -> str:
    """What is measured with a recipe is kept under: its one string, and what the text that it reads holds now.

    A file may hold another text tomorrow.
    """
    if not recipe.reads:
        return recipe.canonical
    read = [recipe.calibration.text, *([SENTENCES] if recipe.calibration.sentences else [])]
    return " ".join([recipe.canonical, *map(fingerprint, read)])


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
