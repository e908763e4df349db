"""Applying and evaluating SmolLM2, against one forward pass, a plain copy, and the naive way."""

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from benchmarks.timing import Row, interleaved, median_ratio
from reparam_core import store
from reparam_core.apply import Setting, apply, base, prepare
from reparam_core.jobs import explored
from reparam_core.measure.evaluation import Evaluation, evaluation
from reparam_core.measure.quality import scored
from reparam_core.models import Model, load
from reparam_core.recipes import Recipe

MODEL = "smollm2-135m-instruct"
RECIPES = {"SVD": "svd:0.8p", "magnitude": "magnitude:0.5", "RTN": "rtn:4g64"}
SEQUENCES, LENGTH = 4, 512


def _asked(model: Model) -> Evaluation:
    return evaluation(model, "moby-dick", SEQUENCES, LENGTH)


def step(model: Model, recipe: str | Recipe, dtype: torch.dtype) -> None:
    """Apply a new setting and score it; the base's scores are known."""
    setting = apply(model, recipe, dtype=dtype)
    _scored(setting.module, model)


def _scored(module: nn.Module, model: Model) -> float:
    asked = _asked(model)
    losses = [scored(module, probe, False).loss for probe in asked.probes]
    return float(torch.cat(losses).double().mean())


def forward(module: nn.Module, model: Model) -> None:
    with torch.inference_mode():
        for probe in _asked(model).probes:
            module(**probe.inputs, use_cache=False)


def applying(runs: int) -> Iterator[Row]:
    """Applying alone against a plain copy of the same weights; with scoring against one forward pass."""
    model = load(MODEL)
    roles = [role for role, one in model.matrices.items() if one.compressed_by_default]
    weights = [model.weight(role) for role in roles]
    works: dict[str, Callable[[], object]] = {"copy": lambda: [one.clone() for one in weights]}
    for name, recipe in RECIPES.items():
        prepare(model, Recipe.parse(recipe))
        works[name] = partial(apply, model, recipe)
    taken = interleaved(works, runs)
    for name in RECIPES:
        yield Row(f"apply {name}, against a copy of the weights", median_ratio(taken[name], taken["copy"]), "×", 4)
    yield Row("apply SVD", statistics.median(taken["SVD"]), "s", 0.4)


def evaluating(runs: int) -> Iterator[Row]:
    """A whole new setting against one forward pass of the base over the same 2,048 tokens, in float32."""
    model = load(MODEL)
    module = base(model).module
    works: dict[str, Callable[[], object]] = {"forward": lambda: forward(module, model)}
    for name, recipe in RECIPES.items():
        prepare(model, Recipe.parse(recipe))
        works[name] = partial(step, model, recipe, torch.float32)
    taken = interleaved(works, runs)
    for name in RECIPES:
        yield Row(
            f"apply and score {name}, against one forward pass", median_ratio(taken[name], taken["forward"]), "×", 1.15
        )


def _reloaded() -> nn.Module:
    module: nn.Module = AutoModelForCausalLM.from_pretrained(load(MODEL).directory, dtype=torch.float32)
    return module


def _matrices(module: nn.Module) -> Iterator[nn.Linear]:
    return (one for name, one in module.named_modules() if isinstance(one, nn.Linear) and "layers" in name)


def _naive_svd(module: nn.Module) -> None:
    """As reference code has it: a decomposition of every matrix at every change."""
    for one in _matrices(module):
        m, n = one.weight.shape
        a, sigma, b = torch.linalg.svd(one.weight.data, full_matrices=False)
        rank = math.floor(0.8 * m * n / (m + n))
        one.weight.data = (a[:, :rank] * sigma[:rank]) @ b[:rank]


def _naive_sort(module: nn.Module) -> None:
    for one in _matrices(module):
        magnitudes = one.weight.data.abs()
        threshold = magnitudes.flatten().sort().values[magnitudes.numel() // 2]
        one.weight.data[magnitudes < threshold] = 0


def _naive_partition(module: nn.Module) -> None:
    for one in _matrices(module):
        magnitudes = one.weight.data.abs()
        threshold = magnitudes.flatten().kthvalue(magnitudes.numel() // 2).values
        one.weight.data[magnitudes <= threshold] = 0


NAIVE = {"SVD": _naive_svd, "full sort": _naive_sort, "partition": _naive_partition}
OURS = {"SVD": "svd:0.8p", "full sort": "magnitude:0.5", "partition": "magnitude:0.5"}
TARGETS = {"SVD": (10.0, 2.5, 4.0), "full sort": (10.0, 1.3, 2.0), "partition": (1.0, 1.3, 2.0)}


def naive(runs: int) -> Iterator[Row]:
    """Against loading the checkpoint again, compressing every matrix and evaluating in float32."""
    model = load(MODEL)
    for name, compress in NAIVE.items():
        prepare(model, Recipe.parse(OURS[name]))
        yield from _against(model, name, compress, max(1, runs // 2))


def _against(model: Model, name: str, compress: Callable[[nn.Module], None], runs: int) -> Iterator[Row]:
    loaded = _reloaded()

    def whole() -> None:
        module = _reloaded()
        compress(module)
        _scored(module, model)

    taken = interleaved({
        "naive apply": lambda: compress(loaded), "apply": lambda: apply(model, OURS[name]), "naive": whole,
        "float32": lambda: step(model, OURS[name], torch.float32),
        "bfloat16": lambda: step(model, OURS[name], torch.bfloat16),
    }, runs)  # fmt: skip
    applied, stepped, narrow = TARGETS[name]
    yield Row(f"{name}: naive apply / ours", median_ratio(taken["naive apply"], taken["apply"]), "×", applied, True)
    yield Row(f"{name}: naive step / ours, float32", median_ratio(taken["naive"], taken["float32"]), "×", stepped, True)
    yield Row(
        f"{name}: naive step / ours, bfloat16", median_ratio(taken["naive"], taken["bfloat16"]), "×", narrow, True
    )


def precision(runs: int) -> Iterator[Row]:
    """bfloat16 evaluation against float32, on the same setting and tokens."""
    model = load(MODEL)
    wide, narrow = (_scored(_setting(model, dtype).module, model) for dtype in (torch.float32, torch.bfloat16))
    change = abs(math.expm1(narrow - wide))
    note = f"{math.exp(wide):.2f} and {math.exp(narrow):.2f}"
    yield Row("perplexity of rtn:4g64 in bfloat16 against float32", 100 * change, "%", 1, note=note)


def _setting(model: Model, dtype: torch.dtype) -> Setting:
    return apply(model, "rtn:4g64", dtype=dtype)


def preparing(runs: int) -> Iterator[Row]:
    """Every SVD of SmolLM2 into an empty store, then from its disk."""
    model = load(MODEL)
    count = sum(one.compressed_by_default for one in model.matrices.values())
    with tempfile.TemporaryDirectory() as folder, store_in(Path(folder)):
        first = prepare(model, Recipe.parse("svd:0.8p"))
        again = prepare(model, Recipe.parse("svd:0.8p"))
    yield Row(f"prepare the SVDs of {count} matrices, writing included", first, "s", 15)
    yield Row("the same from disk", again, "s", 1)


@contextmanager
def store_in(folder: Path) -> Iterator[None]:
    """A store of its own while it lasts."""
    before = os.environ.get("REPARAM_CACHE")
    os.environ["REPARAM_CACHE"] = str(folder)
    store.reopen()
    try:
        yield
    finally:
        if before is None:
            del os.environ["REPARAM_CACHE"]
        else:
            os.environ["REPARAM_CACHE"] = before
        store.reopen()


def first_estimate(runs: int) -> Iterator[Row]:
    """Without the browser: a new setting of the embedded decoder to 2,048 scored tokens."""
    model = load("embedded-decoder")
    for _ in explored(model, "base", ["addresses"]):
        pass
    taken = []
    for run in range(runs):
        recipe = f"svd:r{40 + run} + rtn:5g{33 + run}"
        taken.append(_until_first(model, recipe))
    yield Row("embedded decoder: new setting to 2,048 scored tokens, no browser", statistics.median(taken), "s", 0.5)


def _until_first(model: Model, recipe: str) -> float:
    started = time.perf_counter()
    for found in explored(model, recipe, ["addresses"]):
        if found.points:
            break
    return time.perf_counter() - started
