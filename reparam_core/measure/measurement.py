"""Quality, size and latency of one setting, with where they come from."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import psutil
import torch

from reparam_core.apply import Progress, Setting, apply, base, cache_bytes, cached_roles, finished, reading_of
from reparam_core.data import Sequences, is_labelled
from reparam_core.errors import ReparamError
from reparam_core.measure.evaluation import ANSWERS, DEFAULT_SOURCES, RUNNING, Evaluation, default_source, evaluation
from reparam_core.measure.latency import latency as timed
from reparam_core.measure.quality import Quality, quality, refuse_calibrated
from reparam_core.measure.tasks import task_report, tasks, tasks_of
from reparam_core.models import Model
from reparam_core.parametrizations import Codebook, Quantized
from reparam_core.parametrizations.base import dtype_name
from reparam_core.recipes import Recipe
from reparam_core.store import key, store

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
QUALITY = ("nll", "perplexity", "bits_per_byte", "sequence_nll", "base_nll", "delta_nll", "delta_nll_ci95",
           "next_token_accuracy", "kl_from_base", "flips")  # fmt: skip


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
        right = "" if v["next_token_accuracy"] is None else f" and {v['next_token_accuracy']:.1%} right"
        quality = f"perplexity {v['perplexity']:.4g}{right} on {v['text']['name']}" if v["perplexity"] else "no quality"
        quality += "".join(f" · {name} {one['accuracy']:.1%}" for name, one in v["tasks"].items())
        size = f"{v['bytes']:,} bytes ({v['bytes'] / v['bytes_base']:.2f}×)"
        return f"{v['model']} · {v['recipe_short']} · {quality} · {size}"


def measured(
    model: Model, recipe: str | Recipe, *, text: str | None = None, sequences: int = 16, length: int = 512,
    offset: int = 0, dtype: str = "float32", latency: bool = True, fresh: bool = False, with_tasks: bool = True,
    calibration: Sequences | None = None, progress: Progress | None = None,
) -> Measurement:  # fmt: skip
    """Apply and measure, or find it in the store. Raises ReparamError for what the user got wrong.

    `calibration` is the text whose statistics data-aware methods read, in the place of the recipe's own: it must not hold
    what is scored.
    """
    if dtype not in DTYPES:
        raise ReparamError(f"Unknown dtype '{dtype}'.", f"Known: {', '.join(DTYPES)}.")
    parsed = Recipe.parse(recipe)
    asked = _asked(model, text, sequences, length, offset)
    read = calibration or finished(reading_of(model, parsed), progress)
    _refuse_calibrated(model, read, asked, with_tasks)
    origin = read.provenance() if read is not None else None
    name = key(
        model=model.sha256, recipe=parsed.canonical, asked=asked and asked.key, dtype=dtype, latency=latency,
        tasks=with_tasks, calibration=origin,
    )  # fmt: skip
    found = None if fresh else store().get(name)
    if found is not None:
        return Measurement(found | {"cached": True})
    resident = psutil.Process().memory_info().rss
    setting = apply(model, parsed, dtype=DTYPES[dtype], calibration=calibration, progress=progress)
    values = _values(setting, asked, latency, with_tasks) | {"base_rss_bytes": resident, "calibration": origin}
    result = Measurement(values)
    store().put(name, result.to_json(), model=model.sha256, recipe=parsed.canonical)
    return result


def measure(
    setting: Setting, *, text: str | None = None, sequences: int = 16, length: int = 512, offset: int = 0,
    latency: bool = True, with_tasks: bool = True,
) -> Measurement:  # fmt: skip
    """Quality on the same tokens as the base, size of the packed file, latency of the kernels that run.

    `text` is a shipped text or table, or a file; without it, what suits the model's objective.
    """
    asked = _asked(setting.model, text, sequences, length, offset)
    return Measurement(_values(setting, asked, latency, with_tasks))


def _values(setting: Setting, asked: Evaluation | None, latency: bool, with_tasks: bool) -> dict[str, Any]:
    found = quality(setting, asked) if asked else None
    seconds = {**setting.seconds, "evaluate": found.setting.seconds if found else 0.0}
    reports = _tasks(setting, found) if with_tasks else {}
    return {
        **_identity(setting, asked),
        **_quality_values(found),
        "tasks": reports,
        "accuracy": next((one["accuracy"] for one in reports.values()), None),
        **_sizes(setting),
        "latency": timed(setting, asked.probes[0].inputs) if latency and asked else None,
        "seconds": seconds,
        "cached": False,
        "notes": _notes(setting, asked, found, latency, reports),
    }


def _asked(model: Model, text: str | None, count: int, length: int, offset: int) -> Evaluation | None:
    """None where nothing was asked for and the shipped sources do not suit the model: the rest is still measured."""
    if text is None and (
        model.objective not in DEFAULT_SOURCES or (model.objective not in RUNNING and not tasks_of(model))
    ):
        return None
    source = text or default_source(model)
    rows = tasks_of(model).get(source, ANSWERS)
    return evaluation(model, source, rows if is_labelled(source) else count, length, offset)


def _refuse_calibrated(model: Model, read: Sequences | None, asked: Evaluation | None, with_tasks: bool) -> None:
    """Before a setting is made, which may take long. Raises ReparamError where it would be calibrated on what is asked."""
    if read is None:
        return
    wanted = tasks_of(model) if with_tasks and not (asked and asked.labelled) else {}
    for one in filter(None, [asked, *(evaluation(model, name, count) for name, count in wanted.items())]):
        refuse_calibrated(model, read, one)


def _tasks(setting: Setting, found: Quality | None) -> dict[str, dict[str, Any]]:
    """The table that was asked for, else every task of the objective."""
    if found is not None and found.evaluation.labelled:
        return {found.evaluation.name: task_report(found)}
    return tasks(setting)


def _quality_values(found: Quality | None) -> dict[str, Any]:
    if found is None:
        return dict.fromkeys(QUALITY)
    interval = found.interval
    of_text = not found.evaluation.labelled
    values = (
        found.nll,
        found.perplexity,
        found.nll * found.tokens / found.evaluation.bytes / math.log(2) if found.evaluation.bytes else None,
        [float(one.mean()) for one in found.setting.loss.split(found.evaluation.counts)] if of_text else None,
        found.base_nll,
        found.nll - found.base_nll,
        list(interval) if interval else None,
        found.accuracy if of_text else None,
        found.kl_from_base,
        found.flips,
    )
    return dict(zip(QUALITY, values, strict=True))


def _notes(
    setting: Setting, asked: Evaluation | None, found: Quality | None, latency: bool, reports: dict[str, Any]
) -> list[str]:
    """Why a figure is null, and what was not as asked."""
    timed_at_all, name = latency and asked is not None, setting.model.name
    told = {
        f"nll and all other quality: no shipped text or table suits {name}; give your own": found is None,
        "delta_nll_ci95: fewer than 16 blocks of 64 tokens, or 16 answers, were scored": found and not found.interval,
        "perplexity: above all floating-point numbers": found and math.isinf(found.perplexity),
        "bits_per_byte: what is scored is not every byte of a text, or the text is not known": asked and not asked.bytes,
        "sequence_nll, next_token_accuracy, kl_from_base: a labelled table has answers, no running text":
            asked and asked.labelled,
        "latency: not asked for": asked and not latency,
        "latency: nothing to time without a head": asked is None,
        "decode_ms_per_token, decode: only a causal model writes token by token":
            timed_at_all and not setting.model.writes_text,
        "cache_bytes_per_token, cache_bytes_per_token_base: no text is written token by token, so no keys and values are kept":
            not cached_roles(setting.model),
        "accuracy_ci95, delta_ci95: fewer than 16 answers": any(not one["accuracy_ci95"] for one in reports.values()),
        f"tasks, accuracy: none for a {setting.model.objective} model, or not asked for": not reports,
    }  # fmt: skip
    read = setting.calibration.notes if setting.calibration else ()
    not_as_asked = [
        *(asked.notes if asked else ()),
        *(f"in the calibration, {one}" for one in read),
        *_few_tokens(setting),
        *_long_groups(setting),
    ]
    return [*not_as_asked, *(note for note, holds in told.items() if holds)]


def _few_tokens(setting: Setting) -> list[str]:
    """Calibration tokens that are fewer than the inputs of a matrix, whose Gram matrix is then singular."""
    widest = max((form.shape[1] for form in setting.forms.values()), default=0)
    count = 0 if setting.calibration is None else setting.calibration.ids.numel()
    return [f"calibrated on {count} tokens, fewer than the {widest} inputs of a matrix: what they do not show is filled in by "
            "damping, so take more"] if 0 < count < widest else []  # fmt: skip


def _long_groups(setting: Setting) -> list[str]:
    """Groups that met shorter rows, where they are the whole row."""
    parts = [
        part for form in setting.forms.values() for part in form.modules() if isinstance(part, Quantized | Codebook)
    ]
    short = Counter(part.group for part in parts if isinstance(part.group, int) and part.group > part.shape[1])
    return [f"groups of {group}: {count} of {len(parts)} quantized matrices have shorter rows, one grid each"
            for group, count in short.items()]  # fmt: skip


def _sizes(setting: Setting) -> dict[str, Any]:
    untouched = base(setting.model, setting.dtype)
    return {
        "bytes": setting.bytes,
        "bytes_base": untouched.bytes,
        "bytes_blocks": setting.bytes_blocks,
        "bytes_blocks_base": untouched.bytes_blocks,
        "parameters": setting.parameters,
        "parameters_base": untouched.parameters,
        "cache_bytes_per_token": cache_bytes(setting),
        "cache_bytes_per_token_base": cache_bytes(untouched),
        "source_bits": setting.model.source_bits,
        "peak_rss_bytes": _peak_resident(),
        "base_rss_bytes": None,
    }


def _peak_resident() -> int:
    """The most that this process ever held, in bytes; Windows keeps it elsewhere."""
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):
        return int(info.peak_wset)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)


def _identity(setting: Setting, asked: Evaluation | None) -> dict[str, Any]:
    return {
        "model": setting.model.name,
        "model_sha256": setting.model.sha256,
        "recipe": setting.recipe.as_json() | {"storage": dtype_name(setting.storage)},
        "recipe_short": setting.recipe.short(),
        "objective": setting.model.objective,
        "unit": asked.unit if asked else None,
        "text": asked.provenance if asked else None,
        "calibration": setting.calibration and setting.calibration.provenance(),
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
