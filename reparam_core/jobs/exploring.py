"""What a page asks of the evaluator: a setting measured progressively, and a sweep along one axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from reparam_core.apply import Setting, apply, base
from reparam_core.data import sequences
from reparam_core.errors import ReparamError
from reparam_core.measure.quality import Quality, quality_steps
from reparam_core.models import Model
from reparam_core.store import key, store

FIRST_LENGTH = 256


@dataclass(frozen=True)
class Point:
    """One setting as the charts show it; plain numbers only, so that it can be kept."""

    recipe: str
    perplexity: float
    delta_nll: float
    low: float | None  # 95 % paired interval of the difference in nll
    high: float | None
    accuracy: float
    base_perplexity: float
    base_accuracy: float
    bytes: int
    bytes_base: int
    parameters: int
    parameters_base: int
    tokens: int
    text: str
    final: bool


def explored(
    model: Model, recipe: str, text: str, count: int = 8, dtype: torch.dtype = torch.float32
) -> Iterator[Point]:
    """Estimates that firm up, one a sequence; at once from the store where it was measured before."""
    tokens = sequences(model, text, count, FIRST_LENGTH)
    name = key(explored=model.sha256, recipe=recipe, text=tokens.provenance(), dtype=str(dtype))
    kept = store().get(name)
    if kept is not None:
        yield Point(**kept)
        return
    if model.objective != "causal":
        raise ReparamError(f"{model.name} is no causal language model, so a text gives it no perplexity.",
                           "Choose a decoder here; Spectra shows every model.")  # fmt: skip
    setting, untouched = apply(model, recipe, dtype=dtype), base(model, dtype)
    for quality in quality_steps(setting.module, untouched.module, tokens.ids):
        final = quality.sequences == len(tokens.ids)
        point = _point(setting, untouched, quality, text, final)
        if final:
            store().put(name, vars(point), model=model.sha256, recipe=recipe)
        yield point


def _point(setting: Setting, untouched: Setting, quality: Quality, text: str, final: bool) -> Point:
    low, high = quality.interval or (None, None)
    return Point(
        setting.recipe.short(), quality.perplexity, quality.nll - quality.base_nll, low, high, quality.accuracy,
        float(torch.tensor(quality.base_nll).exp()), quality.base_accuracy, setting.bytes, untouched.bytes,
        setting.parameters, untouched.parameters, quality.tokens, text, final,
    )  # fmt: skip


def swept(model: Model, recipes: Sequence[str], text: str, dtype: torch.dtype) -> Iterator[tuple[int, int]]:
    """Measure many settings into the store; yields how many are done, of how many."""
    for index, recipe in enumerate(recipes):
        for _ in explored(model, recipe, text, dtype=dtype):
            yield index, len(recipes)
    yield len(recipes), len(recipes)


def measured_so_far(model: Model, text: str) -> list[Point]:
    """Every setting of this model that was explored on this text."""
    values = [value for _, value, _ in store().all(model.sha256) if "base_accuracy" in value]
    return [Point(**value) for value in values if value["text"] == text]
