"""recipe + model → Setting: a structural clone that shares with the base whatever the recipe leaves alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
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
    parsed = Recipe.parse(recipe)
    plan = parsed.resolve({role: one.compressed_by_default for role, one in model.matrices.items()})
    started, clock = time.perf_counter(), _Clock()
    storage = parsed.storage_dtype(model.storage)
    forms: dict[str, Parametrization] = {}
    batches = _batches(plan)
    for index, batch in enumerate(batches):
        if cancelled():
            raise CancelledError
        if progress:
            progress(index / len(batches), next(iter(batch)))
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
        content = [history[name.splitlines()[0]] + name for name in leaves]
        prepared = store().prepared(key(method=method.identity(), content=content), make)
    else:
        prepared = make()
    clock.prepare += time.perf_counter() - started if made else 0
    return prepared


def prepare(model: Model, recipe: Recipe, progress: Progress | None = None, workers: int = 2) -> float:
    """Fill the store with all that `apply` will want, matrices side by side; seconds it took.

    One LAPACK thread each: two on two busy cores can stall an SVD for minutes.
    """
    started = time.perf_counter()
    wanted = _preparable(model, recipe)

    def one(work: tuple[Method, str]) -> str:
        method, role = work
        for leaf in model.form(role).leaves():
            _prepared(method, {f"{role}\n{leaf.path}": leaf}, {role: f"{model.sha256}/{role}"}, _Clock())
        return role

    with single_threaded(), ThreadPoolExecutor(workers) as pool:
        for index, role in enumerate(pool.map(one, wanted)):
            if progress:
                progress((index + 1) / len(wanted), role)
    return time.perf_counter() - started


def _preparable(model: Model, recipe: Recipe) -> list[tuple[Method, str]]:
    """The first step of every matrix, where it looks at that matrix alone and has something to keep."""
    plan = recipe.resolve({role: one.compressed_by_default for role, one in model.matrices.items()})
    first = [(next(steps[axis].method for axis in AXES if axis in steps), role) for role, steps in plan.items()]
    return [(method, role) for method, role in first if method.unit == "matrix" and type(method).caches]


@contextmanager
def single_threaded() -> Iterator[None]:
    """Mathematics on one thread each while it lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
