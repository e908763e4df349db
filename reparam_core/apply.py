"""recipe + model → Setting: a structural clone that shares with the base whatever the recipe leaves alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from reparam_core.errors import ReparamError
from reparam_core.methods.base import Method, Prepared, Unit
from reparam_core.models import Model, packed_bytes
from reparam_core.parametrizations import Leaf, Parametrization
from reparam_core.recipes import Recipe, Step
from reparam_core.registry import AXES
from reparam_core.store import key, store

Progress = Callable[[float, str], None]
SIDE_BY_SIDE = 2  # matrices prepared at once


class CancelledError(Exception):
    """The caller no longer wants the answer."""


@dataclass
class Setting:
    """A model with a recipe applied: what every measure takes."""

    model: Model
    recipe: Recipe
    forms: dict[str, Parametrization]  # the changed matrices only
    module: nn.Module
    dtype: torch.dtype
    seconds: dict[str, float] = field(default_factory=lambda: {"prepare": 0.0, "apply": 0.0})

    @property
    def storage(self) -> torch.dtype:
        """The dtype of every float that the file keeps."""
        return self.recipe.storage_dtype(self.model.storage)

    @cached_property
    def bytes(self) -> int:
        """Size of the `*.safetensors` that `compress --format packed` writes."""
        return packed_bytes(self.model, self.forms, self.storage)

    @cached_property
    def bytes_blocks(self) -> int:
        """Bytes of the matrices that the default rule covers."""
        return sum(self.form(role).nbytes for role, one in self.model.matrices.items() if one.compressed_by_default)

    @cached_property
    def parameters(self) -> int:
        """Numbers kept in the whole model."""
        changed = sum(form.parameters_kept - self.model.form(role).parameters_kept for role, form in self.forms.items())
        return self.model.parameters + changed

    def form(self, role: str) -> Parametrization:
        """The matrix in its form here, as stored."""
        return self.forms[role] if role in self.forms else self.model.form(role).stored(self.storage)


Applying = Generator[tuple[float, str], None, Setting]


@dataclass
class _Clock:
    prepare: float = 0.0


def base(model: Model, dtype: torch.dtype = torch.float32) -> Setting:
    """The untouched model as a Setting: nothing is copied."""
    return apply(model, "base", dtype=dtype)


def apply(
    model: Model,
    recipe: str | Mapping[str, Any] | Recipe,
    *,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Setting:
    """Apply a recipe, leaving the model as it is.

    Raises ReparamError for a recipe that is wrong or does not fit the model, CancelledError when `cancelled` says so.
    """
    return finished(applying(model, recipe, dtype=dtype), progress, cancelled)


def finished(
    work: Applying, progress: Progress | None = None, cancelled: Callable[[], bool] = lambda: False
) -> Setting:
    """Every step of the work, one after the other."""
    while True:
        try:
            share, what = next(work)
        except StopIteration as ended:
            setting: Setting = ended.value
            return setting
        if cancelled():
            raise CancelledError
        if progress:
            progress(share, what)


def applying(model: Model, recipe: str | Mapping[str, Any] | Recipe, *, dtype: torch.dtype = torch.float32) -> Applying:
    """`apply` in steps, each a place to pause or to stop: yields how much is done and what comes next."""
    parsed = Recipe.parse(recipe)
    plan = parsed.resolve({role: one.compressed_by_default for role, one in model.matrices.items()})
    started, clock = time.perf_counter(), _Clock()
    storage = parsed.storage_dtype(model.storage)
    forms: dict[str, Parametrization] = {}
    yield from _preparing(model, plan, clock)
    batches = _batches(plan)
    for index, batch in enumerate(batches):
        yield index / len(batches), f"Rewriting {next(iter(batch))}"
        forms |= _transformed(model, {role: plan[role] for role in batch}, storage, dtype, clock)
    changed = bool(forms) or storage != model.storage
    module = model.clone(forms, dtype, storage) if changed else model.module_in(dtype)
    seconds = {"prepare": clock.prepare, "apply": time.perf_counter() - started - clock.prepare}
    return Setting(model, parsed, forms, module, dtype, seconds)


def _batches(plan: Mapping[str, Mapping[str, Step]]) -> list[list[str]]:
    """Matrices that have to be looked at together: one at a time, unless a method's unit is larger."""
    wider = {step.method.unit for steps in plan.values() for step in steps.values()} - {"matrix"}
    return [list(plan)] if wider else [[role] for role in plan]


def _transformed(
    model: Model, plan: Mapping[str, Mapping[str, Step]], storage: torch.dtype, dtype: torch.dtype, clock: _Clock
) -> dict[str, Parametrization]:
    forms = {role: model.form(role) for role in plan}
    history = {role: f"{model.sha256}/{role}" for role in plan}
    for axis in AXES:
        for step in dict.fromkeys(steps[axis] for steps in plan.values() if axis in steps):
            roles = [role for role, steps in plan.items() if steps.get(axis) == step]
            for unit in units(step.method.unit, roles):
                forms |= _step(step, {role: forms[role] for role in unit}, history, clock)
            history |= {role: f"{history[role]}|{step.as_json()}" for role in roles}
    for role, form in forms.items():
        forms[role] = form.stored(storage)
        forms[role].materialize(dtype)
    return forms


def units(unit: Unit, roles: list[str]) -> list[list[str]]:
    """The matrices that share one setting: each, those of a layer, or all."""
    groups: dict[str, list[str]] = {}
    for role in roles:
        name = {"matrix": role, "layer": layer_of(role), "model": ""}[unit]
        groups.setdefault(name, []).append(role)
    return list(groups.values())


def layer_of(role: str) -> str:
    """`layers.3` of `layers.3.attention.q`, `encoder.layers.0` likewise; the role itself outside the blocks."""
    parts = role.split(".")
    if "layers" not in parts:
        return role
    return ".".join(parts[: parts.index("layers") + 2])


def _step(
    step: Step, forms: dict[str, Parametrization], history: Mapping[str, str], clock: _Clock
) -> dict[str, Parametrization]:
    """One step on every leaf of these forms."""
    leaves = {f"{role}\n{leaf.path}": leaf for role, form in forms.items() for leaf in _leaves(role, form, step)}
    for names in units_of_leaves(step.method, leaves):
        chosen = {name: leaves[name] for name in names}
        prepared = _prepared(step.method, chosen, history, clock)
        try:
            for name, form in step.method.at(prepared, chosen, step.setting).items():
                role, _, path = name.partition("\n")
                forms[role] = forms[role].replace(path, form)
        except ReparamError as error:
            raise ReparamError(f"{names[0].splitlines()[0]}: {error.problem}", error.remedy) from error
    return forms


def _leaves(role: str, form: Parametrization, step: Step) -> list[Leaf]:
    """What the step works on. Raises ReparamError where an earlier compression left nothing."""
    found = form.leaves()
    if not found:
        raise ReparamError(f"{role} is {form.form.replace('_', ' ')} already: {step.short()} has nothing to work on.",
                           "Start from the model that it was made of, or leave that matrix out.")  # fmt: skip
    return found


def units_of_leaves(method: Method, leaves: Mapping[str, Leaf]) -> Iterator[list[str]]:
    """A method that looks at single matrices gets the leaves one by one, any other all at once."""
    if method.unit == "matrix":
        yield from ([name] for name in leaves)
    elif leaves:
        yield list(leaves)


def _prepared(method: Method, leaves: Mapping[str, Leaf], history: Mapping[str, str], clock: _Clock) -> Prepared:
    """From the store where the leaves are the checkpoint's own matrices, else made anew; what is found costs nothing."""
    started, made = time.perf_counter(), list[Prepared]()

    def make() -> Prepared:
        made.append(method.prepare(leaves))
        return made[0]

    own = all("|" not in history[name.splitlines()[0]] for name in leaves)
    if own and type(method).caches:
        prepared = store().prepared(_prepared_name(method, leaves, history), make)
    else:
        prepared = make()
    clock.prepare += time.perf_counter() - started if made else 0
    return prepared


def _prepared_name(method: Method, names: Iterable[str], history: Mapping[str, str]) -> str:
    """The key of what a method prepares for these leaves."""
    return key(method=method.identity(), content=[history[name.splitlines()[0]] + name for name in names])


def prepare(model: Model, recipe: Recipe, progress: Progress | None = None) -> float:
    """Fill the store with all that `apply` will want; seconds it took."""
    started = time.perf_counter()
    plan = recipe.resolve({role: one.compressed_by_default for role, one in model.matrices.items()})
    for share, what in _preparing(model, plan, _Clock()):
        if progress:
            progress(share, what)
    return time.perf_counter() - started


def _preparing(model: Model, plan: Mapping[str, Mapping[str, Step]], clock: _Clock) -> Iterator[tuple[float, str]]:
    """What the store lacks of every matrix's first step, some matrices side by side, pausing after each few.

    One LAPACK thread each: two on two busy cores can stall an SVD for minutes.
    """
    wanted = _missing(model, plan)
    if len(wanted) < 2:
        return

    def one(work: tuple[Method, str]) -> None:
        method, role = work
        for leaf in model.form(role).leaves():
            _prepared(method, {f"{role}\n{leaf.path}": leaf}, {role: f"{model.sha256}/{role}"}, _Clock())

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for start in range(0, len(wanted), 2 * SIDE_BY_SIDE):
            yield start / len(wanted), f"Preparing {wanted[start][1]}"
            started = time.perf_counter()
            with single_threaded():
                list(pool.map(one, wanted[start : start + 2 * SIDE_BY_SIDE]))
            clock.prepare += time.perf_counter() - started


def _missing(model: Model, plan: Mapping[str, Mapping[str, Step]]) -> list[tuple[Method, str]]:
    """The first step of every matrix, where it looks at that matrix alone, has something to keep and has not kept it."""
    first = [(next(steps[axis].method for axis in AXES if axis in steps), role) for role, steps in plan.items()]
    return [
        (method, role)
        for method, role in first
        if method.unit == "matrix" and type(method).caches and not _all_kept(model, method, role)
    ]


def _all_kept(model: Model, method: Method, role: str) -> bool:
    history = {role: f"{model.sha256}/{role}"}
    names = [f"{role}\n{leaf.path}" for leaf in model.form(role).leaves()]
    return all(store().has_tensors(_prepared_name(method, [name], history)) for name in names)


class _Threads:
    """Who wants mathematics on one thread each: the first sets it, the last restores what was there."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                torch.set_num_threads(self._before)


_threads = _Threads()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Mathematics on one thread each while it lasts, also where several threads ask for it at once."""
    _threads.enter()
    try:
        yield
    finally:
        _threads.leave()
