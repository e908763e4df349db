"""What pages ask of the evaluator: a setting measured while one looks, its details, what it says, and a sweep."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from itertools import zip_longest
from typing import Any

import torch

from reparam_core.apply import Applying, Setting, applying, base, check, reading_of
from reparam_core.data import identity, is_labelled
from reparam_core.jobs.stepping import aside, stepping
from reparam_core.measure.changes import Claim, bytes_by_kind, changes, claims
from reparam_core.measure.evaluation import ANSWERS, DEFAULT_SOURCES, Evaluation, evaluation
from reparam_core.measure.generation import said
from reparam_core.measure.latency import bfloat16_gains, latency_steps
from reparam_core.measure.outliers import outliers
from reparam_core.measure.quality import Quality, paired_interval, quality_steps, refuse_calibrated
from reparam_core.measure.tasks import task_steps, tasks_of
from reparam_core.models import Model
from reparam_core.recipes import Recipe
from reparam_core.store import key, store

LENGTH = 257  # tokens of a sequence: 256 are scored
LARGE = 50_000_000  # parameters from which bfloat16 pays
FIRST = {True: 1024, False: 2048}  # scored tokens before a first estimate is shown, of large and small models
SEQUENCES = {True: 16, False: 32}
FIRST_ANSWERS = 96
KL_SEQUENCES = 1  # whose distributions are compared with the base's: they are large
REMEMBERED = 16  # evaluations
HIGHEST_NLL = 69.0  # a perplexity of 10³⁰
BUILT = 3  # settings that stay in memory for whoever asks next
_asked: OrderedDict[tuple[str, str], Evaluation] = OrderedDict()
_asking = threading.Lock()


@dataclass(frozen=True)
class Point:
    """One setting on one source as the charts show it; plain numbers only, so that it can be kept."""

    recipe: str  # canonical JSON
    short: str
    source: str
    asked: str  # the key of the evaluation: only points that were asked the same are comparable
    unit: str  # of an answer: token, masked token, sentence …
    convention: str  # what of the source was scored, in words
    labelled: bool
    perplexity: float
    base_perplexity: float
    delta_nll: float
    nll_interval: Sequence[float] | None  # 95 % paired, of the difference
    accuracy: float
    base_accuracy: float
    accuracy_interval: Sequence[float] | None  # 95 % paired, of the difference
    flips: float
    kl_from_base: float | None
    majority: float | None
    labels: Sequence[str]
    confusion: list[list[int]] | None
    tokens: int
    answers: int
    bytes: int
    bytes_base: int
    parameters: int
    parameters_base: int
    dtype: str
    seconds: float  # that this measurement took
    nll_blocks: list[float]  # the setting's own, for a paired comparison with any other setting
    right_blocks: list[float]
    final: bool
    seen: float = 0.0  # when it was measured, seconds since 1970; 0 while it is new

    @property
    def size_ratio(self) -> float:
        """Bytes of the file against the base's."""
        return self.bytes / self.bytes_base

    @property
    def perplexity_interval(self) -> tuple[float, float] | None:
        """95 % paired interval of the difference in perplexity."""
        if self.nll_interval is None:
            return None
        low, high = (self.base_perplexity * math.expm1(min(one, 700.0)) for one in self.nll_interval)
        return low, high

    def beside(self, base: Point) -> Point:
        """An estimate told from the whole base: its distance is that on the tokens scored so far."""
        return replace(
            self, base_perplexity=base.perplexity, perplexity=_perplexity(math.log(base.perplexity) + self.delta_nll),
            base_accuracy=base.accuracy, accuracy=base.accuracy + self.accuracy - self.base_accuracy,
        )  # fmt: skip

    @property
    def significant(self) -> bool:
        """Does the interval of the difference leave zero out? Unknown counts as yes."""
        interval = self.accuracy_interval if self.labelled else self.nll_interval
        return interval is None or not interval[0] <= 0 <= interval[1]


@dataclass(frozen=True)
class Comparison:
    """A point beside another on the same questions."""

    nll: float
    nll_interval: Sequence[float] | None
    accuracy: float
    accuracy_interval: Sequence[float] | None


def compared(point: Point, other: Point) -> Comparison | None:
    """Paired differences over what both were asked so far; None where they were not asked the same."""
    if point.asked != other.asked:
        return None
    nll, right = _paired(point.nll_blocks, other.nll_blocks), _paired(point.right_blocks, other.right_blocks)
    return Comparison(float(nll.mean()), paired_interval(nll, 1), float(right.mean()), paired_interval(right, 1))


def _paired(own: list[float], theirs: list[float]) -> torch.Tensor:
    both = min(len(own), len(theirs))
    return torch.tensor(own[:both], dtype=torch.float64) - torch.tensor(theirs[:both], dtype=torch.float64)


@dataclass(frozen=True)
class Explored:
    """What is known of a setting so far: its points by source, in the order asked, or what is being done."""

    points: dict[str, Point] = field(default_factory=dict)
    doing: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Details:
    """What takes longer: what changed, what was claimed, latency and task accuracies, as they come."""

    changes: list[dict[str, Any]] | None = None
    sizes: list[dict[str, Any]] | None = None
    claims: list[Claim] | None = None
    outliers: list[dict[str, Any]] | None = None  # where numbers were rewritten first
    latency: dict[str, Any] | None = None
    tasks: dict[str, dict[str, Any]] | None = None
    dtype: str = ""
    timed: bool = False  # is the latency that of all its runs?
    seen: float = 0.0  # when it was measured, seconds since 1970; 0 while it is new


def exploring_dtype(model: Model) -> torch.dtype:
    """bfloat16 for large models where it is quicker here, float32 else."""
    return torch.bfloat16 if model.parameters > LARGE and bfloat16_gains() else torch.float32


def asked_of(model: Model, source: str) -> Evaluation:
    """The evaluation that pages show: the same for every setting, made once."""
    name = (model.sha256, source)
    with _asking:
        if name not in _asked:
            rows = tasks_of(model).get(source, ANSWERS)
            count = rows if is_labelled(source) else SEQUENCES[model.parameters > LARGE]
            while len(_asked) >= REMEMBERED:
                _asked.popitem(last=False)
            _asked[name] = evaluation(model, source, count, LENGTH)
        return _asked[name]


def explored(model: Model, recipe: str, sources: Sequence[str]) -> Iterator[Explored]:
    """A first estimate of each source, then refined in turn; at once from the store where it was measured before."""
    parsed = Recipe.parse(recipe)
    asked = [asked_of(model, source) for source in sources]
    points = _points(model, parsed, asked)
    if points:
        yield Explored(dict(points))
    missing = [one for one in asked if one.name not in points]
    if not missing:
        return
    started = time.perf_counter()
    so_far = Explored(dict(points))
    setting = yield from stepping(
        _apart(model, parsed, missing), lambda share, what: replace(so_far, doing=what, share=share)
    )
    yield replace(so_far, doing="Scoring the first tokens", share=1.0)  # what was asked meanwhile goes first
    for quality in _looked_at(model, [quality_steps(setting, one, KL_SEQUENCES) for one in missing]):
        if quality.final or _enough(quality, model):
            point = _point(setting, parsed, quality, time.perf_counter() - started)
            if quality.final:
                _keep(model, parsed, quality.evaluation, point)
                _keep_base(model, quality)
            points[quality.evaluation.name] = point if quality.final else _beside_base(model, quality, point)
        known = {one.name: points[one.name] for one in asked if one.name in points}
        yield Explored(known, "" if known else "Scoring the first tokens")


def explored_before(model: Model, recipe: str, sources: Sequence[str]) -> Explored | None:
    """What `explored` would answer, without any work, where each source was measured before.

    None too before a source was asked for once: whoever draws a page never makes an evaluation.
    """
    asked = [one for source in sources if (one := _asked.get((model.sha256, source)))]
    points = _points(model, Recipe.parse(recipe), asked)
    return Explored(points) if len(points) == len(sources) else None


def _points(model: Model, recipe: Recipe, asked: Sequence[Evaluation]) -> dict[str, Point]:
    """Of the sources that this setting was measured on before."""
    return {one.name: point for one in asked if (point := _kept(model, recipe, one))}


def _apart(model: Model, recipe: Recipe, asked: Sequence[Evaluation]) -> Applying:
    """The setting in steps. Raises ReparamError where the recipe is calibrated on what it would be measured on."""
    known = check(model, recipe).calibration  # before the model writes such a text for a minute
    read = known or (yield from reading_of(model, recipe))
    for one in asked:
        refuse_calibrated(model, read, one)
    return (yield from building(model, recipe))


def _looked_at(model: Model, runs: Sequence[Iterator[Quality]]) -> Iterator[Quality]:
    """Each run up to its first estimate, then a step of each that is left, round and round."""
    for run in runs:
        for found in run:
            yield found
            if _enough(found, model):
                break
    for together in zip_longest(*runs):
        yield from (found for found in together if found is not None)


def _enough(quality: Quality, model: Model) -> bool:
    """Is it worth a first look?"""
    if quality.evaluation.labelled:
        return quality.answers >= FIRST_ANSWERS
    return quality.tokens >= FIRST[model.parameters > LARGE]


class _Built:
    """The settings built last, shared by all who ask: few, since each may hold a copy of the weights."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, torch.dtype], Setting] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: tuple[str, str, torch.dtype]) -> Setting | None:
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def put(self, name: tuple[str, str, torch.dtype], setting: Setting) -> None:
        with self._lock:
            self._kept[name] = setting
            while len(self._kept) > BUILT:
                self._kept.popitem(last=False)


_built = _Built()


def building(model: Model, recipe: str | Recipe) -> Applying:
    """The recipe applied in steps, or the same setting as built a moment ago."""
    parsed, dtype = Recipe.parse(recipe), exploring_dtype(model)
    name = (model.sha256, identity(parsed), dtype)
    found = _built.get(name)
    if found is None:
        found = yield from applying(model, parsed, dtype=dtype)
        _built.put(name, found)
    return found


def _name(model: Model, recipe: Recipe, asked: Evaluation) -> str:
    return key(point=model.sha256, recipe=identity(recipe), asked=asked.key, dtype=str(exploring_dtype(model)))


def _kept(model: Model, recipe: Recipe, asked: Evaluation) -> Point | None:
    value = store().get(_name(model, recipe, asked))
    return _read(value) if value else None


def _read(value: Mapping[str, Any]) -> Point | None:
    """A point from the store; None where another version wrote it."""
    names = {one.name for one in fields(Point)}
    return Point(**value) if set(value) == names else None


def _keep(model: Model, recipe: Recipe, asked: Evaluation, point: Point) -> None:
    value = asdict(point) | {"seen": time.time()}
    store().put(_name(model, recipe, asked), value, model=model.sha256, recipe=recipe.canonical)


def _keep_base(model: Model, quality: Quality) -> None:
    """Whoever measures a setting has measured the base beside it: every chart has its starting point."""
    untouched = base(model, exploring_dtype(model))
    if _kept(model, untouched.recipe, quality.evaluation) is None:
        point = _point(untouched, untouched.recipe, replace(quality, setting=quality.base), 0.0)
        _keep(model, untouched.recipe, quality.evaluation, point)


def _beside_base(model: Model, quality: Quality, point: Point) -> Point:
    """The estimate beside the one number that the base has, where that is known."""
    whole = _kept(model, Recipe.parse("base"), quality.evaluation)
    return point.beside(whole) if whole else point


def _point(setting: Setting, recipe: Recipe, found: Quality, seconds: float) -> Point:
    untouched, asked = base(setting.model, setting.dtype), found.evaluation
    return Point(
        recipe=recipe.canonical, short=recipe.short(), source=asked.name, asked=asked.key,
        unit=asked.unit, convention=asked.convention, labelled=asked.labelled,
        perplexity=_perplexity(found.nll), base_perplexity=_perplexity(found.base_nll),
        delta_nll=found.nll - found.base_nll, nll_interval=found.interval,
        accuracy=found.accuracy, base_accuracy=found.base_accuracy, accuracy_interval=found.delta_accuracy_interval,
        flips=found.flips, kl_from_base=found.kl_from_base, majority=asked.majority, labels=asked.labels,
        confusion=found.confusion if asked.labels else None, tokens=found.tokens, answers=found.answers,
        bytes=setting.bytes, bytes_base=untouched.bytes, parameters=setting.parameters,
        parameters_base=untouched.parameters, dtype=str(setting.dtype).removeprefix("torch."), seconds=seconds,
        nll_blocks=found.blocks(found.setting.loss), right_blocks=found.blocks(found.setting.right), final=found.final,
    )  # fmt: skip


def _perplexity(nll: float) -> float:
    """exp(nll), up to a number that charts can show; what is no number at all is as bad as that."""
    return math.exp(min(nll, HIGHEST_NLL)) if not math.isnan(nll) else math.exp(HIGHEST_NLL)


def detailed(model: Model, recipe: str) -> Iterator[Details]:
    """What changed by layer and what was claimed, then latency, then task accuracies; kept once they are whole."""
    parsed = Recipe.parse(recipe)
    found = detailed_before(model, parsed)
    if found is not None:
        yield found
        return
    setting = yield from stepping(building(model, parsed), lambda _share, _what: Details())
    found = Details(dtype=str(setting.dtype).removeprefix("torch."))
    yield (found := replace(found, claims=claims(setting)))
    yield (found := replace(found, sizes=bytes_by_kind(setting)))
    yield (found := replace(found, changes=changes(setting)))
    if setting.recipe.transform:
        yield (found := replace(found, outliers=outliers(setting, _read_by(model))))
    for times in _latencies(setting):
        yield (found := replace(found, latency=times, claims=claims(setting, times)) if times else found)
    yield (found := replace(found, timed=found.latency is not None))
    for reports in aside(task_steps(setting)):
        yield (found := replace(found, tasks=reports))
    store().put(
        _details_name(model, parsed), asdict(found) | {"seen": time.time()}, model=model.sha256, recipe=parsed.canonical
    )


def _details_name(model: Model, recipe: Recipe) -> str:
    return key(details=model.sha256, recipe=identity(recipe), threads=torch.get_num_threads(),
               dtype=str(exploring_dtype(model)))  # fmt: skip


def detailed_before(model: Model, recipe: str | Recipe) -> Details | None:
    """From the store; None where it was never measured whole, or where another version wrote it."""
    value = store().get(_details_name(model, Recipe.parse(recipe)))
    if value is None or set(value) != {one.name for one in fields(Details)}:
        return None
    return Details(**value | {"claims": [Claim(**one) for one in value["claims"]]})


def _latencies(setting: Setting) -> Iterator[dict[str, Any]]:
    """Times of the model's own kind of input, after every pass; none where it has no input of that kind."""
    inputs = _read_by(setting.model)
    if inputs:
        yield from latency_steps(setting, inputs)


def _read_by(model: Model) -> Mapping[str, torch.Tensor]:
    """What the model reads for its times: the first rows of its own kind of source; empty where it has none."""
    source = DEFAULT_SOURCES.get(model.objective)
    suited = source is not None and (not is_labelled(source) or source in tasks_of(model))
    if model.tokenizer is None or source is None or not suited:
        return {}
    return evaluation(model, source, 16, LENGTH).probes[0].inputs


def conversed(
    model: Model, recipe: str, prompt: str, tokens: int, temperature: float, seed: int
) -> Iterator[tuple[str, str]]:
    """What base and setting say to the same prompt with the same seed, growing."""
    before = after = ""
    for before in said(base(model, exploring_dtype(model)), prompt, tokens, temperature, seed):
        yield before, after
    setting = yield from stepping(building(model, recipe), lambda _share, _what: (before, after))
    for after in said(setting, prompt, tokens, temperature, seed):
        yield before, after


def swept(model: Model, recipes: Sequence[str], sources: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Measure many settings into the store; yields how many are done, of how many."""
    for index, recipe in enumerate(recipes):
        for _ in aside(explored(model, recipe, sources)):
            yield index, len(recipes)
    yield len(recipes), len(recipes)


def measured_so_far(model: Model, source: str) -> list[Point]:
    """Every setting of this model that was measured to the end on this source, and asked the same.

    Nothing before the source was asked for once: a page draws what it says, and never makes an evaluation itself.
    """
    asked = _asked.get((model.sha256, source))
    if asked is None:
        return []
    kept = {name: _read(value) for name, value, _ in store().all(model.sha256) if value.get("asked") == asked.key}
    # What was calibrated on a file that holds another text by now is no setting that one could ask for.
    return [point for name, point in kept.items() if point and name == _name(model, _parsed(point.recipe), asked)]


@cache
def _parsed(canonical: str) -> Recipe:
    """A page asks for every point each time that it is drawn."""
    return Recipe.parse(canonical)
