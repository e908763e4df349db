"""What calibration costs: reading the text, then a setting of a method that reads it, and the map of sensitivities."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from benchmarks.engine import MODEL, forward, step, store_in
from benchmarks.timing import Row, interleaved, median_ratio, seconds
from reparam_core.apply import apply, base, finished
from reparam_core.data import calibration
from reparam_core.jobs.exploring import asked_of, exploring_dtype
from reparam_core.jobs.sensitivity import sensed
from reparam_core.measure.quality import quality_steps
from reparam_core.measure.sensitivity import Behind, alone
from reparam_core.models import Model, load
from reparam_core.recipes import Calibration, Recipe, Step
from reparam_core.statistics import one_shot

# What a slider moves once statistics are known; the amount of text does not matter to that.
INSTANT = (
    "random:0.5",
    "wanda:0.5",
    "whitened-svd:0.8p",
    "asvd:0.8p",
    "fisher-svd:0.8p",
    "rtn:4g64",
    "nf4:g64",
    "mxfp4",
)
FEW = Calibration(sequences=8, length=256)
SOURCE = "moby-dick"
CELLS = (
    "layers.2.mlp.up",
    "layers.10.attention.q",
    "layers.15.mlp.down",
    "layers.20.attention.o",
    "layers.28.mlp.gate",
)


def reading(runs: int) -> Iterator[Row]:
    """64 × 512 tokens of the mixture, for the statistics of every matrix's inputs."""
    model = load(MODEL)
    read = calibration(model, "mixture", 64, 512)
    with tempfile.TemporaryDirectory() as folder, store_in(Path(folder)):
        first, again = (seconds(lambda: finished(one_shot(model, model.matrices, read))) for _ in range(2))
    yield Row("read 64 × 512 calibration tokens for every matrix", first, "s", 240)
    yield Row("the statistics from disk", again, "s", 5)


def stepping(runs: int) -> Iterator[Row]:
    """A whole new setting against one forward pass of the base over the same 2,048 tokens, statistics known."""
    model = load(MODEL)
    module = base(model).module
    works: dict[str, Callable[[], object]] = {"forward": lambda: forward(module, model)}
    for short in INSTANT:
        recipe = Recipe.parse(Recipe.parse(short).as_json() | {"calibration": FEW.model_dump()})
        apply(model, recipe)  # what is prepared once
        works[short] = partial(step, model, recipe, torch.float32)
    taken = interleaved(works, runs)
    for short in INSTANT:
        yield Row(
            f"apply and score {short}, against one forward pass", median_ratio(taken[short], taken["forward"]), "×", 1.3
        )


def sensing(runs: int) -> Iterator[Row]:
    """The first map of all cells, and cells measured alone against a whole evaluation on the same tokens."""
    model = load(MODEL)
    (moved,) = (one for one in Recipe.parse("rtn:3g64").rules[0].steps.values() if one)
    with tempfile.TemporaryDirectory() as folder, store_in(Path(folder)):
        started = time.perf_counter()
        *_, last = sensed(model, moved, Calibration())
        taken = time.perf_counter() - started
        yield Row(f"first map: {len(last.cells)} cells estimated", taken, "s", 300)
        yield Row("a cell measured, against a whole evaluation", _cell(model, moved, runs), "×", 0.7)


def _cell(model: Model, moved: Step, runs: int) -> float:
    """Median over matrices early and late, the activations before them known, as in a map of which many are measured."""
    asked, dtype = asked_of(model, SOURCE), exploring_dtype(model)
    behind = Behind(model, dtype, asked)
    for _ in behind.reading():
        continue

    def whole(role: str) -> None:
        for _ in quality_steps(apply(model, alone(Calibration(), role, moved), dtype=dtype), asked, kl_probes=0):
            continue

    def resumed(role: str) -> None:
        for _ in behind.steps(apply(model, alone(Calibration(), role, moved), dtype=dtype)):
            continue

    ratios = []
    for role in islice(CELLS, max(1, runs)):
        taken = interleaved({"whole": partial(whole, role), "resumed": partial(resumed, role)}, 2)
        ratios.append(median_ratio(taken["resumed"], taken["whole"]))
    return statistics.median(ratios)
