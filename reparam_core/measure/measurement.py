"""Quality, size and latency of one setting, with where they come from."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import psutil
import torch

from reparam_core.apply import Setting, apply, base
from reparam_core.data import Sequences, sequences
from reparam_core.errors import ReparamError
from reparam_core.measure.latency import latency as timed
from reparam_core.measure.quality import Quality, quality_steps
from reparam_core.models import Model
from reparam_core.parametrizations.base import dtype_name
from reparam_core.recipes import Recipe
from reparam_core.store import key, store

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Measurement:
    """What `measure` found: prints as a row, serialises as JSON, two of them subtract."""

    values: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The contract's object: numbers finite or null."""
        return _finite(self.values)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def __sub__(self, other: Measurement) -> dict[str, float]:
        """Differences of the plain numbers that both have."""
        shared = [name for name in self.values if _number(self.values[name]) and _number(other.values.get(name))]
        return {name: self.values[name] - other.values[name] for name in shared}

    def __str__(self) -> str:
        v = self.values
        quality = f"perplexity {v['perplexity']:.4g}" if v["perplexity"] is not None else "no perplexity"
        size = f"{v['bytes']:,} bytes ({v['bytes'] / v['bytes_base']:.2f}×)"
        return f"{v['model']} · {v['recipe_short']} · {quality} on {v['text']['name']} · {size}"


def measured(
    model: Model, recipe: str | Recipe, *, text: str = "addresses", sequences: int = 16, length: int = 512,
    offset: int = 0, dtype: str = "float32", latency: bool = True, fresh: bool = False,
) -> Measurement:  # fmt: skip
    """Apply and measure, or find it in the store. Raises ReparamError for what the user got wrong."""
    if dtype not in DTYPES:
        raise ReparamError(f"Unknown dtype '{dtype}'.", f"Known: {', '.join(DTYPES)}.")
    parsed = Recipe.parse(recipe)
    tokens = _tokens(model, text, sequences, length, offset)
    name = key(model=model.sha256, recipe=parsed.canonical, text=tokens.provenance(), dtype=dtype, latency=latency)
    found = None if fresh else store().get(name)
    if found is not None:
        return Measurement(found | {"cached": True})
    result = measure(apply(model, parsed, dtype=DTYPES[dtype]), tokens=tokens, latency=latency)
    store().put(name, result.to_json(), model=model.sha256, recipe=parsed.canonical)
    return result


def measure(
    setting: Setting, *, text: str = "addresses", sequences: int = 16, length: int = 512, offset: int = 0,
    latency: bool = True, tokens: Sequences | None = None,
) -> Measurement:  # fmt: skip
    """Quality on the same tokens as the base, size of the packed file, latency of the kernels that run."""
    tokens = tokens or _tokens(setting.model, text, sequences, length, offset)
    started = time.perf_counter()
    quality, notes = _quality(setting, tokens)
    seconds = {**setting.seconds, "evaluate": time.perf_counter() - started}
    times = timed(setting, tokens.ids[:1]) if latency and quality else None
    values = {
        **_identity(setting, tokens),
        **_quality_values(quality, tokens),
        **_sizes(setting),
        "latency": times,
        "seconds": seconds,
        "cached": False,
        "notes": [*tokens.notes, *notes],
    }
    return Measurement(values)


def _tokens(model: Model, text: str, count: int, length: int, offset: int) -> Sequences:
    return sequences(model, text, count, length, offset)


def _quality(setting: Setting, tokens: Sequences) -> tuple[Quality | None, list[str]]:
    if setting.model.objective != "causal":
        return None, [
            f"nll: a text is scored by causal language models only, this is a {setting.model.objective} model"
        ]
    steps = quality_steps(setting.module, base(setting.model, setting.dtype).module, tokens.ids)
    return list(steps)[-1], []


def _quality_values(quality: Quality | None, tokens: Sequences) -> dict[str, Any]:
    if quality is None:
        return dict.fromkeys(("nll", "perplexity", "bits_per_byte", "base_nll", "delta_nll", "delta_nll_ci95"))
    interval = quality.interval
    return {
        "nll": quality.nll,
        "perplexity": quality.perplexity,
        "bits_per_byte": quality.nll * quality.tokens / tokens.bytes / math.log(2) if tokens.bytes else None,
        "sequence_nll": quality.setting.loss.mean(1).tolist(),
        "base_nll": quality.base_nll,
        "delta_nll": quality.nll - quality.base_nll,
        "delta_nll_ci95": list(interval) if interval else None,
        "next_token_accuracy": quality.accuracy,
        "kl_from_base": quality.kl_from_base,
        "flips": quality.flips,
    }


def _sizes(setting: Setting) -> dict[str, Any]:
    untouched = base(setting.model, setting.dtype)
    resident = psutil.Process().memory_info().rss
    return {
        "bytes": setting.bytes,
        "bytes_base": untouched.bytes,
        "bytes_blocks": setting.bytes_blocks,
        "bytes_blocks_base": untouched.bytes_blocks,
        "parameters": setting.parameters,
        "parameters_base": untouched.parameters,
        "source_bits": setting.model.source_bits,
        "resident_bytes": resident,
    }


def _identity(setting: Setting, tokens: Sequences) -> dict[str, Any]:
    return {
        "model": setting.model.name,
        "model_sha256": setting.model.sha256,
        "recipe": setting.recipe.as_json() | {"storage": dtype_name(setting.storage)},
        "recipe_short": setting.recipe.short(),
        "objective": setting.model.objective,
        "text": tokens.provenance(),
        "calibration": None,
        "dtype": dtype_name(setting.dtype),
        "device": "cpu",
        "seed": 0,
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
