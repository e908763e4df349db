"""A text as token sequences: tokenized once, cut at fixed places."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from reparam_core.data.texts import Text, text
from reparam_core.errors import ReparamError

_tokenized: dict[tuple[str, str], list[int]] = {}


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

    def provenance(self) -> dict[str, Any]:
        """As a measurement reports it."""
        count, length = self.ids.shape
        return {"name": self.name, "sha256": self.sha256, "offset": self.offset, "sequences": count, "length": length}


def sequences(model: Reader, name: str, count: int = 16, length: int = 512, offset: int = 0) -> Sequences:
    """Sequence i starts at token offset + i · length. Raises ReparamError where not one is to be had."""
    if name.endswith(".npy"):
        return _array(name, count, length)
    found = text(name)
    tokens = _tokens(model, found)
    limit = getattr(model.config, "max_position_embeddings", None)
    notes = []
    if limit and length > limit:
        notes.append(f"length {length} is above the model's {limit} positions: {limit} used")
        length = limit
    there = max(0, (len(tokens) - offset) // length)
    if there == 0:
        raise ReparamError(f"{name} has {len(tokens)} tokens from offset {offset}: less than one sequence of {length}.",
                           "Give a longer text, or a shorter length.")  # fmt: skip
    if there < count:
        notes.append(f"the text has {there} sequences of {length}, fewer than the {count} asked for")
    used = min(there, count)
    ids = torch.tensor(tokens[offset : offset + used * length]).view(used, length)
    scored = sum(len(model.tokenizer.decode(row[1:].tolist()).encode()) for row in ids)
    return Sequences(ids, found.name, found.sha256, offset, scored, tuple(notes))


def _tokens(model: Reader, found: Text) -> list[int]:
    if model.tokenizer is None:
        raise ReparamError(f"{model.name} has no tokenizer.", "Give token ids as .npy of shape (N, L).")
    name = (model.sha256, found.sha256)
    if name not in _tokenized:
        _tokenized[name] = model.encode(found.content)
    return _tokenized[name]


def _array(name: str, count: int, length: int) -> Sequences:
    try:
        array = np.load(name, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ReparamError(f"{name} cannot be read as an array: {error}.", "Save token ids with numpy.save.") from None
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise ReparamError(f"{name} holds {array.dtype} of shape {array.shape}.", "Give integers of shape (N, L).")
    ids = torch.from_numpy(array[:count, :length].astype(np.int64))
    return Sequences(ids, Path(name).name, hashlib.sha256(array.tobytes()).hexdigest(), 0, None)
