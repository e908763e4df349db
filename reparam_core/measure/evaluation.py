"""What is asked of a model to score it: a text or a labelled table as probes, by the model's objective."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from reparam_core.data import (
    ENTRIES,
    IGNORED,
    MOST_CHOICES,
    TABLES,
    Row,
    Sequences,
    Table,
    is_labelled,
    most_tokens,
    sequences,
    table,
)
from reparam_core.errors import ReparamError, quoted
from reparam_core.models import Model
from reparam_core.store import key

T = TypeVar("T")
MASKED_SHARE = 0.15  # Devlin et al. 2019
TOKENS = 512  # that are read at a time of a labelled table, padding counted: what a moved control may have to wait for
ANSWERS = 1500  # rows of the user's own table, at most


@dataclass(frozen=True)
class Probe:
    """Inputs of one forward pass, and the targets of its first logits: (rows, positions), IGNORED where not scored."""

    inputs: dict[str, Tensor]
    targets: Tensor
    choices: tuple[int, ...] = ()  # rows that belong together: the candidates of one question each
    answers: tuple[int, ...] = ()  # which of them is true


@dataclass(frozen=True)
class Evaluation:
    """A source of truth as a model of this objective is asked for it."""

    name: str
    unit: str  # what one answer is: token, masked token, sentence, date …
    probes: list[Probe]
    provenance: dict[str, Any]
    convention: str  # what is scored, in words
    by_row: bool = False  # an answer is a whole row, right where all of it is
    labels: tuple[str, ...] = ()
    majority: float | None = None
    bytes: int | None = None  # of text that the scored tokens stand for
    notes: tuple[str, ...] = field(default=())
    tokens: Tensor | None = None  # of a running text, hidden ones included
    rows: tuple[str, ...] = ()  # of a table, what is asked

    @property
    def labelled(self) -> bool:
        """Are its answers right or wrong by a table, rather than the tokens of a text?"""
        return self.majority is not None

    @property
    def counts(self) -> list[int]:
        """Scored positions of each probe."""
        return [int((probe.targets != IGNORED).sum()) for probe in self.probes]

    @property
    def key(self) -> str:
        """What distinguishes it."""
        return key(**self.provenance, unit=self.unit)


DEFAULT_SOURCES = {"causal": "addresses", "masked": "reviews", "classification": "movie-reviews", "seq2seq": "dates"}


def default_source(model: Model) -> str:
    """What a model of this objective is scored on unless told otherwise. Raises ReparamError without an objective."""
    if model.objective not in DEFAULT_SOURCES:
        raise ReparamError(f"{model.name} has no head, so nothing that it says can be right or wrong.",
                           "Spectra, attention, size and latency remain; load it with a head for its accuracy.")  # fmt: skip
    return DEFAULT_SOURCES[model.objective]


def evaluation(model: Model, source: str, count: int = 16, length: int = 512, offset: int = 0) -> Evaluation:
    """The source as probes. Raises ReparamError where the model cannot be asked this."""
    default_source(model)
    _refuse_unknown(model, source)
    forms = LABELLED if is_labelled(source) else RUNNING
    if model.objective not in forms:
        kind = "a labelled table" if is_labelled(source) else "a running text"
        raise ReparamError(f"{source} is {kind}, which a {model.objective} model is not scored on.",
                           f"Take {DEFAULT_SOURCES[model.objective]}, or your own.")  # fmt: skip
    if is_labelled(source):
        whole = table(source)
        scored = whole.first(count)
        fewer = (f"the first {count} of {len(whole.rows)} rows are scored",) if count < len(whole.rows) else ()
        return replace(LABELLED[model.objective](model, scored), notes=(*fewer, *scored.notes))
    return RUNNING[model.objective](model, sequences(model, source, count, length, offset))


def _refuse_unknown(model: Model, source: str) -> None:
    """Raises ReparamError, with what this model can be asked, for a name that is neither shipped nor a file."""
    if source in ENTRIES or is_labelled(source) or source.endswith(".npy") or os.path.exists(source):
        return
    running = model.objective in RUNNING
    tables = [name for name in TABLES if model.objective in LABELLED and _suits(model, table(name))]
    kinds = [kind for kind, there in (("text", running), ("table", tables)) if there]
    raise ReparamError(f"There is no {' or '.join(kinds)} {quoted(source)}.",
                       f"Known: {', '.join([*(ENTRIES if running else ()), *tables])}; or a file.")  # fmt: skip


def _suits(model: Model, found: Table) -> bool:
    """Can a model of this objective give the table's answers?"""
    return not unknown_labels(model, found) if model.objective != "causal" else all(row.choices for row in found.rows)


def _of_text(found: Sequences, unit: str, probes: list[Probe], scored: str, size: int | None = None) -> Evaluation:
    convention = f"sequences of {found.ids.shape[1]}, {scored}"
    return Evaluation(
        found.name, unit, probes, found.provenance(), convention, bytes=size, notes=found.notes, tokens=found.ids
    )


def of_tokens(model: Model, found: Sequences) -> Evaluation:
    """Every position but a sequence's first, from those before it."""
    probes = [Probe({"input_ids": row[None]}, row[None, 1:]) for row in found.ids]
    return _of_text(found, "token", probes, "every position but the first scored", found.bytes)


def of_masked_tokens(model: Model, found: Sequences) -> Evaluation:
    """15 % of the positions, always the same ones and one at least, from all the others: no code length of the text."""
    _require_tokenizer(model)
    hidden = torch.rand(found.ids.shape, generator=torch.Generator().manual_seed(0)) < MASKED_SHARE
    hidden[:, 0] = False  # where an encoder may keep its own mark
    hidden[:, 1] |= ~hidden.any(1)
    seen = found.ids.masked_fill(hidden, model.tokenizer.mask_token_id)
    targets = found.ids.masked_fill(~hidden, IGNORED)
    probes = [Probe({"input_ids": seen[i : i + 1]}, targets[i : i + 1]) for i in range(len(seen))]
    return _of_text(found, "masked token", probes, f"{MASKED_SHARE:.0%} of the positions masked and scored")


def _of_table(found: Table, unit: str, probes: list[Probe], labels: Sequence[str] = ()) -> Evaluation:
    provenance = {"name": found.name, "sha256": found.sha256, "offset": 0, "sequences": len(found.rows), "length": None}
    rows = tuple(row.text for row in found.rows)
    return Evaluation(
        found.name, unit, probes, provenance, "one answer a row", True, tuple(labels), found.majority, rows=rows
    )


def class_numbers(model: Model) -> dict[str, int]:
    """The classifier's labels in lower case, and their numbers as text."""
    names = {str(name).lower(): int(index) for index, name in model.config.id2label.items()}
    return names | {str(index): index for index in range(model.config.num_labels)}


def unknown_labels(model: Model, found: Table) -> list[str]:
    """The answers that a classifier has no class for."""
    if model.objective != "classification":
        return []
    return [label for label in found.labels if label.lower() not in class_numbers(model)]


def of_classes(model: Model, found: Table) -> Evaluation:
    """Each text's class, for models with a classification head."""
    unknown, numbers = unknown_labels(model, found), class_numbers(model)
    if unknown:
        raise ReparamError(f"{found.name} has the label '{unknown[0]}', which {model.name} does not know.",
                           f"Its labels are {', '.join(model.config.id2label.values())}.")  # fmt: skip
    probes = []
    for rows in _together(found.rows, _lengths(model, found)):
        targets = torch.tensor([[numbers[row.answer.lower()]] for row in rows])
        probes.append(Probe(_padded(model, [row.text for row in rows]), targets))
    return _of_table(found, "sentence", probes, [model.config.id2label[i] for i in sorted(model.config.id2label)])


def of_written_answers(model: Model, found: Table) -> Evaluation:
    """Each answer's tokens, written in one go: greedy decoding gives it exactly where each is the likeliest."""
    probes = []
    for rows in _together(found.rows, _lengths(model, found)):
        targets = _padded(model, [row.answer for row in rows])
        labels = targets["input_ids"].masked_fill(targets["attention_mask"] == 0, IGNORED)
        start = torch.full((len(rows), 1), int(model.config.decoder_start_token_id))
        shifted = torch.cat([start, targets["input_ids"][:, :-1]], 1)
        inputs = _padded(model, [row.text for row in rows]) | {"decoder_input_ids": shifted}
        probes.append(Probe(inputs, labels))
    return _of_table(found, "answer", probes)


def of_choices(model: Model, found: Table) -> Evaluation:
    """Which of the candidates the model finds likeliest after the text: the sum over the candidate's tokens."""
    if any(not row.choices for row in found.rows):
        raise ReparamError(f"{found.name} has more than {MOST_CHOICES} different answers, and a causal model does not write them: it "
                           "chooses among the labels.", f"Give a table with 2 to {MOST_CHOICES} different ones.")  # fmt: skip
    written = [(row, _choice_lines(model, row)) for row in found.rows]
    probes = [
        _choice_probe(some) for some in _together(written, [[len(line) for line, _ in own] for _, own in written])
    ]
    places = found.rows[0].choices if len({row.choices for row in found.rows}) == 1 else ()
    return _of_table(found, "choice", probes, places)


def _lengths(model: Model, found: Table) -> list[list[int]]:
    """Tokens of each text, the model's own marks included."""
    _require_tokenizer(model)
    read = model.tokenizer([row.text for row in found.rows], truncation=True, max_length=most_tokens(model))
    return [[len(ids)] for ids in read["input_ids"]]


def _choice_lines(model: Model, row: Row) -> list[tuple[list[int], int]]:
    """The text with each candidate, and where the candidate begins; of a text that is too long its end decides."""
    start, most, lines = model.encode(asked(row)), most_tokens(model), []
    for choice in row.choices:
        end = model.encode(f" {choice}")
        begun = start[max(0, len(start) + len(end) - most) :] if most else start
        lines.append((begun + end, len(begun)))
    return lines


def _choice_probe(asked: Sequence[tuple[Row, list[tuple[list[int], int]]]]) -> Probe:
    """A line a candidate; what stands right of a line's end is never seen by what is scored."""
    lines = [line for _, own in asked for line in own]
    longest = max(len(line) for line, _ in lines)
    ids = torch.zeros(len(lines), longest, dtype=torch.int64)
    targets = torch.full((len(lines), longest - 1), IGNORED)
    for index, (line, begin) in enumerate(lines):
        ids[index, : len(line)] = torch.tensor(line)
        targets[index, begin - 1 : len(line) - 1] = torch.tensor(line[begin:])
    answers = tuple(row.choices.index(row.answer) for row, _ in asked)
    return Probe({"input_ids": ids}, targets, tuple(len(row.choices) for row, _ in asked), answers)


def asked(row: Row) -> str:
    """What a language model reads before the candidates: a statement goes on, a review is asked about."""
    return f"{row.text}\nThis review is" if set(row.choices) == {"negative", "positive"} else row.text


def _together(rows: Sequence[T], lengths: Sequence[Sequence[int]]) -> list[list[T]]:
    """The rows that are read at a time, one at least; each has lines of so many tokens, padded to the longest."""
    batches: list[list[T]] = []
    lines = longest = 0
    for row, tokens in zip(rows, lengths, strict=True):
        lines, longest = lines + len(tokens), max(longest, *tokens)
        if not batches or lines * longest > TOKENS:
            batches.append([])
            lines, longest = len(tokens), max(tokens)
        batches[-1].append(row)
    return batches


def _padded(model: Model, texts: list[str]) -> dict[str, Tensor]:
    _require_tokenizer(model)
    found = model.tokenizer(texts, padding=True, truncation=True, max_length=most_tokens(model), return_tensors="pt")
    return {name: found[name] for name in ("input_ids", "attention_mask")}


def _require_tokenizer(model: Model) -> None:
    if model.tokenizer is None:
        raise ReparamError(f"{model.name} has no tokenizer.", "Choose a model with one.")


RUNNING: dict[str, Callable[[Model, Sequences], Evaluation]] = {"causal": of_tokens, "masked": of_masked_tokens}
LABELLED: dict[str, Callable[[Model, Table], Evaluation]] = {
    "causal": of_choices, "classification": of_classes, "seq2seq": of_written_answers}  # fmt: skip
