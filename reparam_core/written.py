"""Calibration text that a language model writes itself, where none of its own domain is at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

import torch
from torch import Tensor

from reparam_core.data import Sequences, calibration, fitting, own_count, with_sentences
from reparam_core.errors import ReparamError
from reparam_core.models import Model
from reparam_core.store import key, store

WRITTEN = "written"  # the name that a recipe has for it
TITLE, WORDS = "Written by the model", "what the model writes"  # as a menu shows it, and in a sentence
CERTAIN = 4  # likeliest tokens behind the first, before chance has its say: LLM-QAT's three to five
TOGETHER = 32  # sequences that are written side by side
Reading = Generator[tuple[float, str], None, Sequences]


def reading(model: Model, name: str, count: int, length: int, offset: int = 0, sentences: float = 0.0) -> Reading:
    """The sequences of a text, or what the model itself writes: yields how much is done, and what.

    Each begins with a token drawn from the whole vocabulary, goes on with the likeliest few and then as the model draws
    (Liu et al., 2023, LLM-QAT, section 3.1); `offset` is the seed. Written once, then from the store. Raises ReparamError
    for a model that writes no text.
    """
    if name != WRITTEN:
        return calibration(model, name, count, length, offset, sentences)
    found = written_before(model, count, length, offset, sentences)
    if found is None:
        length, own = fitting(model, length), own_count(count, sentences)
        ids = yield from _write(model, own, length, offset)
        store().save_tensors(_name(model, own, length, offset), {"ids": ids})
        found = with_sentences(model, _sequences(ids, offset), count, sentences)
    return found


def written_before(model: Model, count: int, length: int, offset: int = 0, sentences: float = 0.0) -> Sequences | None:
    """What the model wrote when it was asked the same before."""
    if not model.writes_text:
        raise ReparamError(f"{model.name} writes no text of its own.", "Calibrate it on a text.")
    found = store().tensors(_name(model, own_count(count, sentences), fitting(model, length), offset))
    return with_sentences(model, _sequences(found["ids"], offset), count, sentences) if found else None


def _name(model: Model, count: int, length: int, seed: int) -> str:
    return key(written=model.sha256, count=count, length=length, seed=seed)


def _sequences(ids: Tensor, seed: int) -> Sequences:
    return Sequences(ids, WRITTEN, hashlib.sha256(ids.numpy().tobytes()).hexdigest(), seed, None)


def _write(model: Model, count: int, length: int, seed: int) -> Generator[tuple[float, str], None, Tensor]:
    """(count, length), some sequences side by side."""
    draw, written = torch.Generator().manual_seed(seed), []
    for start in range(0, count, TOGETHER):
        rows = min(TOGETHER, count - start)
        first = torch.randint(int(model.config.vocab_size), (rows, 1), generator=draw)
        tokens, kept = [first], None
        for place in range(1, length):
            yield (
                (start + rows * place / length) / count,
                f"The model writes its calibration text: {start} of {count} sequences",
            )
            with torch.inference_mode():
                answer = model.module(input_ids=tokens[-1], past_key_values=kept, use_cache=True)
                kept, logits = answer.past_key_values, answer.logits[:, -1].float()
                tokens.append(_next(logits, place, draw))
        written.append(torch.cat(tokens, 1))
    return torch.cat(written).clone()


def _next(logits: Tensor, place: int, draw: torch.Generator) -> Tensor:
    """(rows, 1)"""
    if place <= CERTAIN:
        return logits.argmax(-1, keepdim=True)
    return torch.multinomial(logits.softmax(-1), 1, generator=draw)
