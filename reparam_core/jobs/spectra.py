"""What the spectra page asks of the evaluator: singular values, what a cut costs the model, and how ALS converges."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from torch import Tensor

from reparam_core.apply import applying, single_threaded
from reparam_core.data import identity
from reparam_core.jobs.exploring import Point, asked_of, building, explored
from reparam_core.jobs.stepping import stepping
from reparam_core.measure.spectra import Spectrum, singular_values
from reparam_core.methods.rank.als import ALS
from reparam_core.models import Model
from reparam_core.recipes import Recipe
from reparam_core.store import key, store

Side = Literal["before", "after", "difference"]
SoFar = TypeVar("SoFar")
LADDER = (1 / 4, 1 / 2, 1 / 16, 3 / 4, 1 / 8, 3 / 8, 1 / 32, 1 / 64)  # shares of full rank, coarse to fine


@dataclass(frozen=True)
class Compared:
    """A matrix's spectrum before and, where the setting changes it, after."""

    before: Spectrum
    after: Spectrum | None = None
    change: float | None = None  # ‖W − W′‖ / ‖W‖


@dataclass(frozen=True)
class Layers:
    """The spectra found so far, of these matrices."""

    roles: Sequence[str]
    total: int  # spectra, before and after
    before: Mapping[str, Spectrum] = field(default_factory=dict)
    after: Mapping[str, Spectrum] = field(default_factory=dict)  # of the matrices that the setting changes
    seconds: float = 0.0  # that it took so far

    @property
    def left(self) -> float:
        """How many more seconds, at the pace so far."""
        return self.seconds / max(1, self.done) * (self.total - self.done)

    @property
    def done(self) -> int:
        """How many of them are found."""
        return len(self.before) + len(self.after)

    def values(self, of: Callable[[Spectrum], float], side: Side = "before") -> dict[str, float]:
        """A number of every matrix before or after, or by how much it rises."""
        before = {role: of(one) for role, one in self.before.items()}
        after = before | {role: of(one) for role, one in self.after.items()}
        if side == "difference":
            return {role: after[role] - before[role] for role in before}
        return before if side == "before" else after


@dataclass(frozen=True)
class CutQuality:
    """What the model scores where one matrix alone is cut at a rank."""

    rank: int
    value: float  # perplexity, or accuracy where the source is labelled
    base: float
    low: float | None  # 95 % interval of the value, paired with the base
    high: float | None
    labelled: bool
    final: bool
    significant: bool
    scored: str = ""  # on how much, in which arithmetic


def seen_roles(model: Model) -> list[str]:
    """The matrices that have a spectrum to speak of: all but single rows and columns."""
    return [role for role, one in model.matrices.items() if min(one.shape) > 1]


def cut_recipe(role: str, rank: int) -> str:
    """This matrix alone at this rank, by the SVD."""
    return json.dumps({"rules": [{"where": role, "rank": {"method": "svd", "rank": rank}}]})


def recipes_by_role(model: Model, recipe: str) -> dict[str, Recipe]:
    """What a recipe does to each matrix that it changes, as a recipe for that matrix alone."""
    parsed = Recipe.parse(recipe)
    plan = parsed.resolve({role: one.compressed_by_default for role, one in model.matrices.items()})
    rules = {
        role: {"where": role} | {axis: one.as_json() for axis, one in steps.items()} for role, steps in plan.items()
    }
    return {role: parsed.with_rules([rule]) for role, rule in rules.items()}


def spectrum_of(model: Model, role: str) -> Spectrum:
    """The singular values of a matrix, computed once."""
    name = key(spectrum=model.sha256, role=role)
    kept = store().prepared(name, lambda: {"sigma": _singular_values(model.weight(role))})
    return Spectrum(model.matrices[role].shape, kept["sigma"])


def spectrum_after(
    model: Model, role: str, recipe: str, own: Recipe, so_far: SoFar
) -> Generator[SoFar, None, Compared]:
    """The spectrum before and after a setting, of which `own` is what it does to this matrix; computed once.

    While it builds the setting it yields `so_far`: others may have the machine, or it may be abandoned.
    """
    # A step that looks at more than this matrix makes the whole recipe the setting's identity.
    alone = all(step.alone for rule in own.rules for step in rule.steps.values() if step)
    wanted = own if alone else Recipe.parse(recipe)
    name = key(spectrum=model.sha256, role=role, recipe=identity(wanted))
    kept = store().tensors(name)
    if kept is None:
        work = applying(model, own) if alone else building(model, wanted)
        setting = yield from stepping(work, lambda _share, _what: so_far)
        weight, changed = setting.start.weight(role), setting.forms[role].dense()
        made = {"sigma": _singular_values(changed), "change": (weight - changed).norm() / weight.norm()}
        kept = store().prepared(name, lambda: made)
    before = spectrum_of(model, role)
    return Compared(before, Spectrum(before.shape, kept["sigma"]), float(kept["change"]))


def _singular_values(weight: Tensor) -> Tensor:
    """One LAPACK thread: two on two busy cores can stall."""
    with single_threaded():
        return singular_values(weight)


def compared_spectrum(model: Model, role: str, recipe: str) -> Iterator[Compared]:
    """Before, then before and after."""
    before = Compared(spectrum_of(model, role))
    yield before
    own = recipes_by_role(model, recipe).get(role)
    if own is not None:
        yield (yield from spectrum_after(model, role, recipe, own, before))


def compared_layers(model: Model, recipe: str) -> Iterator[Layers]:
    """Every matrix of the layers before, one after the other, then those that the setting changes after."""
    changed = recipes_by_role(model, recipe)
    roles = [role for role in seen_roles(model) if model.matrices[role].compressed_by_default]
    before, after = dict[str, Spectrum](), dict[str, Spectrum]()
    total, started = len(roles) + sum(role in changed for role in roles), time.perf_counter()
    yield (so_far := Layers(roles, total))
    for role in roles:
        before[role] = spectrum_of(model, role)
        yield (so_far := Layers(roles, total, dict(before), {}, time.perf_counter() - started))
    for role in (role for role in roles if role in changed):
        found = yield from spectrum_after(model, role, recipe, changed[role], so_far)
        after |= {role: found.after} if found.after else {}
        yield (so_far := Layers(roles, total, before, dict(after), time.perf_counter() - started))


def ladder(full: int) -> list[int]:
    """The ranks at which a cut is tried, coarse to fine, and rank 1 at last."""
    return list(dict.fromkeys([max(1, round(share * full)) for share in LADDER] + [1]))


def cut_quality(point: Point, rank: int) -> CutQuality:
    """A measured point as what it says of a cut."""
    interval = point.accuracy_interval if point.labelled else point.perplexity_interval
    value, base = ((point.accuracy, point.base_accuracy) if point.labelled
                   else (point.perplexity, point.base_perplexity))  # fmt: skip
    low, high = (base + interval[0], base + interval[1]) if interval else (None, None)
    return CutQuality(rank, value, base, low, high, point.labelled, point.final, point.significant, scored(point))


def scored(point: Point) -> str:
    """`4,096 tokens in bfloat16, sequences of 257, every position but the first scored`."""
    count, unit = (point.answers, point.unit) if point.labelled else (point.tokens, "token")
    return f"{count:,} {unit}s in {point.dtype}, {point.convention}"


@dataclass(frozen=True)
class Progress:
    """How far an estimate is."""

    done: int  # scored tokens
    total: int
    seconds_left: float


def progress_of(model: Model, point: Point) -> Progress:
    """How many of its tokens are scored, and when the rest will be, at the pace so far."""
    total = sum(asked_of(model, point.source).counts)
    return Progress(point.tokens, total, point.seconds * (total / point.tokens - 1))


def on_one_base(cuts: Iterable[CutQuality]) -> list[CutQuality]:
    """By rank, beside one base: an estimate, scored on fewer tokens, keeps its distance to the base on those."""
    ordered = sorted(cuts, key=lambda one: one.rank)
    base = next((one.base for one in ordered if one.final), ordered[0].base if ordered else 0.0)
    return [one if one.final else _rebased(one, base) for one in ordered]


def _rebased(cut: CutQuality, base: float) -> CutQuality:
    def moved(value: float | None) -> float | None:
        if value is None:
            return None
        return value - cut.base + base if cut.labelled else value * base / cut.base

    return replace(cut, value=moved(cut.value) or 0.0, base=base, low=moved(cut.low), high=moved(cut.high))


def cut_qualities(model: Model, role: str, source: str, ranks: Iterable[int]) -> Iterator[dict[int, CutQuality]]:
    """What the model scores at each of these cuts of one matrix, growing; what was measured before comes at once."""
    found: dict[int, CutQuality] = {}
    for rank in ranks:
        for known in explored(model, cut_recipe(role, rank), [source]):
            for point in known.points.values():
                found = {**found, rank: cut_quality(point, rank)}
            yield found


def als_losses(model: Model, role: str, rank: int) -> Iterator[list[float]]:
    """‖W − UVᵀ‖² / ‖W‖² after every round of alternating least squares, growing; kept once it has converged."""
    method = ALS()
    name = key(als=model.sha256, role=role, rank=rank, method=method.identity())
    kept = store().get(name)
    if kept is not None:
        yield kept["losses"]
        return
    losses: list[float] = []
    for _, _, loss in method.rounds(model.weight(role).float(), rank):
        losses = [*losses, loss]
        yield losses
    store().put(name, {"losses": losses}, model=model.sha256, recipe=cut_recipe(role, rank))
