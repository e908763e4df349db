"""A text as token sequences: tokenized once, cut at fixed places."""

from __future__ import annotations

import hashlib
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from reparam_core.data.texts import Text, text
from reparam_core.errors import ReparamError, quoted

MOST_CHARACTERS = 6  # of a token, as a first guess
MARGIN = 256  # tokens before a cut that are not relied on
REMEMBERED = 32  # texts
IGNORED = -100  # a target that is not scored, as torch has it
UNLIMITED = 10**9  # tokens: what tokenizers write that know no limit is above it
_tokenized: OrderedDict[tuple[str, str], tuple[list[int], bool]] = OrderedDict()


class Reader(Protocol):
    """What a text needs of a model: this room does not know the models'."""

    name: str
    sha256: str
    tokenizer: Any

    @property
    def config(self) -> Any:
        """The transformers configuration."""

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""


@dataclass(frozen=True)
class Sequences:
    """ids (N, L) int64, with what is needed to cut the same ones again."""

    ids: Tensor
    name: str
    sha256: str
    offset: int
    bytes: int | None  # of text that the scored tokens stand for
    notes: tuple[str, ...] = ()
    sentences: float = 0.0  # the share that is not of this text, but of the sentences

    def provenance(self) -> dict[str, Any]:
        """As a measurement reports it."""
        count, length = self.ids.shape
        mixed = {"sentences": self.sentences} if self.sentences else {}
        return {
            "name": self.name,
            "sha256": self.sha256,
            "offset": self.offset,
            "sequences": count,
            "length": length,
        } | mixed


def sequences(model: Reader, name: str, count: int = 16, length: int = 512, offset: int = 0) -> Sequences:
    """Sequence i starts at token offset + i · length. Raises ReparamError where not one is to be had."""
    if count < 1 or length < 2 or offset < 0:
        raise ReparamError(f"{count} sequences of {length} tokens from {offset} on score nothing.",
                           "Ask for at least one sequence of two tokens.")  # fmt: skip
    notes, most = [], fitting(model, length)
    if most < length:
        notes.append(f"length {length} is above the model's {most} positions: {most} used")
        length = most
    if name.endswith(".npy"):
        return _array(name, count, length, int(model.config.vocab_size), notes)
    found = text(name)
    tokens = _tokens(model, found, offset + count * length)
    there = max(0, (len(tokens) - offset) // length)
    if there == 0:
        raise ReparamError(f"{quoted(found.name)} has {len(tokens)} tokens{f', read from {offset} on' if offset else ''}: less than one "
                           f"sequence of {length}.", "Give a longer text, or a shorter length.", topic="short")  # fmt: skip
    if there < count:
        notes.append(f"the text has {there} sequences of {length}, fewer than the {count} asked for")
    used = min(there, count)
    ids = torch.tensor(tokens[offset : offset + used * length]).view(used, length)
    scored = sum(len(model.tokenizer.decode(row[1:].tolist()).encode()) for row in ids)
    return Sequences(ids, found.name, found.sha256, offset, scored, tuple(notes))


def most_tokens(model: Reader) -> int | None:
    """The longest input that the model has positions for; its tokenizer knows where some of them are set apart."""
    told = (getattr(model.config, "max_position_embeddings", None), getattr(model.tokenizer, "model_max_length", None))
    limits = [one for one in told if one and one < UNLIMITED]
    return min(limits, default=None)


def fitting(model: Reader, length: int) -> int:
    """As many tokens of a sequence as the model has positions for."""
    return min(length, most_tokens(model) or length)


def _tokens(model: Reader, found: Text, wanted: int) -> list[int]:
    """At least the first `wanted` ids of a text, or all there are; only as much of it is tokenized as that takes.

    A token depends on the few characters around it, so those well before the cut are the whole text's own.
    """
    if model.tokenizer is None:
        raise ReparamError(
            f"{model.name} has no tokenizer.", "Give token ids as .npy of shape (N, L).", topic="tokenizer"
        )
    name = (model.sha256, found.sha256)
    known, whole = _tokenized.get(name, ([], False))
    characters = MOST_CHARACTERS * wanted + MARGIN
    while len(known) < wanted and not whole:
        whole = characters >= len(found.content)
        read = model.encode(found.content[:characters])
        known = read if whole else read[:-MARGIN]
        characters *= 2
    _tokenized[name] = (known, whole)
    while len(_tokenized) > REMEMBERED:
        _tokenized.popitem(last=False)
    return known


def _array(name: str, count: int, length: int, vocabulary: int, notes: list[str]) -> Sequences:
    array = _loaded(name)
    if array.ndim != 2 or array.dtype.kind not in "iu" or 0 in array.shape or array.shape[1] < 2:
        raise ReparamError(
            f"{quoted(name)} holds {array.dtype} of shape {array.shape}.", "Give integers of shape (N, L)."
        )
    if array.min() < 0 or array.max() >= vocabulary:
        raise ReparamError(f"{quoted(name)} holds ids from {array.min()} to {array.max()}, and the vocabulary has {vocabulary}.",
                           "Tokenize with this model's own tokenizer.")  # fmt: skip
    ids = torch.from_numpy(array[:count, :length].astype(np.int64))
    if ids.shape != (count, length):
        notes.append(
            f"the array has {array.shape[0]} sequences of {array.shape[1]}, not the {count} of {length} asked for"
        )
    return Sequences(ids, Path(name).name, hashlib.sha256(array.tobytes()).hexdigest(), 0, None, tuple(notes))


def _loaded(name: str) -> np.ndarray:
    try:
        found = np.load(name, allow_pickle=False)
    except OSError as error:
        raise ReparamError(f"{quoted(name)} cannot be read: {error.strerror or error}.",
                           "Save token ids with numpy.save.") from None  # fmt: skip
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise ReparamError(f"{quoted(name)} holds no array of numbers.", "Save token ids with numpy.save.") from None
    if not isinstance(found, np.ndarray):
        raise ReparamError(f"{quoted(name)} holds several arrays.", "Save the token ids alone, with numpy.save.")
    return found
