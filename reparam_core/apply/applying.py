"""recipe + model → Setting: a structural clone that shares with the base whatever the recipe leaves alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

import torch

from reparam_core.apply.caching import with_cache
from reparam_core.apply.checking import check, plan_of, reading_of
from reparam_core.apply.finished import keep, kept
from reparam_core.apply.preparing import preparing, side_by_side
from reparam_core.apply.returning import Progress, Returning, finished
from reparam_core.apply.rewriting import rewriting, rewritten
from reparam_core.apply.setting import Setting
from reparam_core.apply.splitting import splitting
from reparam_core.apply.steps import Making, Plan, Work, first, portions, steps_of, transforming
from reparam_core.data import Sequences
from reparam_core.gradients import with_gradients
from reparam_core.losses import LOSSES, measured_on, with_losses
from reparam_core.models import Model
from reparam_core.models.model import structural_clone
from reparam_core.parametrizations import Parametrization
from reparam_core.recipes import Recipe, Step
from reparam_core.roles import layer_of
from reparam_core.statistics import Gathering, Walk, one_shot
from reparam_core.store import key

R = TypeVar("R")
Applying = Generator[tuple[float, str], None, Setting]


def apply(
    model: Model,
    recipe: str | Mapping[str, Any] | Recipe,
    *,
    dtype: torch.dtype = torch.float32,
    calibration: Sequences | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Setting:
    """Apply a recipe, leaving the model as it is.

    `calibration` is what data-aware methods read, in the place of the recipe's own. Raises ReparamError for a recipe that
    is wrong or does not fit the model, CancelledError when `cancelled` says so.
    """
    return finished(applying(model, recipe, dtype=dtype, calibration=calibration), progress, cancelled)


def applying(
    model: Model,
    recipe: str | Mapping[str, Any] | Recipe,
    *,
    dtype: torch.dtype = torch.float32,
    calibration: Sequences | None = None,
) -> Applying:
    """`apply` in steps, each a place to pause or to stop: yields how much is done and what comes next."""
    parsed = Recipe.parse(recipe)
    checked = check(model, parsed, calibration)
    read = checked.calibration or (yield from reading_of(model, parsed))
    started = time.perf_counter()
    start = yield from rewriting(model, parsed, read)
    work = Work(start, parsed.storage_dtype(model.storage))
    forms = yield from _forms(work, parsed, checked.plan, read, dtype)
    forms = with_cache(start, forms, parsed.cache, work.storage)
    changed = bool(forms) or work.storage != start.storage
    module = start.clone(forms, dtype, work.storage) if changed else start.module_in(dtype)
    seconds = {"prepare": work.prepare, "apply": time.perf_counter() - started - work.prepare}
    return Setting(model, parsed, forms, module, dtype, seconds, read, start)


def _forms(work: Work, recipe: Recipe, plan: Plan, read: Sequences | None, dtype: torch.dtype) -> Making:
    """The changed matrices; from the store where a setting that takes long was made before."""
    slow = any(not type(step.method).instant or step.statistics == "sequential" for step in steps_of(plan))
    name = _name_of_forms(work, recipe, read) if slow else None
    found = kept(name) if name else None
    if found is None:
        asked = _asking(plan, "one-shot")
        if read is not None and asked:
            work.known["one-shot"] = yield from _of_the_base(work.model, plan, asked, read)
        plan = yield from splitting(work, plan, read)
        in_order = any(_reads(step, "sequential") for step in steps_of(plan))
        made = _in_order(work, plan, read) if read is not None and in_order else _at_once(work, plan, dtype)
        found = yield from made
        if name:
            keep(name, found)
    for form in found.values():
        form.materialize(dtype)
    return found


def _of_the_base(model: Model, plan: Plan, asked: list[str], read: Sequences) -> Gathering:
    """What these matrices' steps ask of the untouched model: of all inputs, and gradients and losses where they need them."""
    steps = {role: [step for step in plan[role].values() if _reads(step, "one-shot")] for role in asked}
    needs = {role: frozenset[str]().union(*(step.needs for step in own)) for role, own in steps.items()}
    known = yield from one_shot(model, [role for role in asked if needs[role] != LOSSES], read)
    # What needs nothing of its inputs reads no more of the text than the losses are measured on.
    known |= yield from one_shot(model, [role for role in asked if needs[role] == LOSSES], measured_on(read))
    known = yield from with_gradients(model, known, [role for role in asked if "gradients" in needs[role]], read)
    left_out = {role: step.method for role, own in steps.items() for step in own if "losses" in step.needs}
    return (yield from with_losses(model, known, left_out, read))


def _name_of_forms(work: Work, recipe: Recipe, read: Sequences | None) -> str:
    """The key of what the rules make, whatever becomes of keys and values behind them."""
    weights_alone = recipe.model_copy(update={"cache": None}).as_json()
    return key(forms=work.model.sha256, recipe=weights_alone, calibration=read and read.provenance())


def _at_once(work: Work, plan: Plan, dtype: torch.dtype) -> Making:
    """Every matrix as the checkpoint has it."""
    forms: dict[str, Parametrization] = {}
    yield from preparing(work, plan)
    parts = portions(plan)
    for index, roles in enumerate(parts):
        made = Returning(transforming(work, {role: plan[role] for role in roles}, dtype))
        for share, what in made:
            yield (index + share) / len(parts), what
        forms |= made.value
    return forms


def _in_order(work: Work, plan: Plan, read: Sequences) -> Making:
    """Block by block, each reading what the compressed blocks before it answer; what stands outside them last."""
    forms: dict[str, Parametrization] = {}
    walk, done = Walk(work.model, structural_clone(work.model.module), read), 0
    for block in walk.blocks():
        share = done / len(walk.layers)
        if block is None:
            yield share, "Reading the calibration text behind what is compressed"
            continue
        mine = {role: steps for role, steps in plan.items() if layer_of(role) == block.layer}
        gathered = walk.statistics(block, _asking(mine, "sequential"))
        work.known["sequential"] = yield from _told(gathered, share, f"Reading the calibration text in {block.layer}")
        yield share, f"Compressing {block.layer}"
        made = side_by_side(work, mine)
        work.model.install(walk.module, made)
        forms |= made
        done += 1
    outside = {role: steps for role, steps in plan.items() if role not in forms}
    gathered = walk.outside(_asking(outside, "sequential"))
    work.known["sequential"] = yield from _told(gathered, 1.0, "Reading the calibration text behind every block")
    made = transforming(work, outside, torch.float32)
    return forms | (yield from _told(made, 1.0, "Rewriting what stands outside the blocks"))


def _asking(plan: Plan, how: str) -> list[str]:
    """The matrices with a step that reads statistics of that kind."""
    return [role for role, steps in plan.items() if any(_reads(step, how) for step in steps.values())]


def _told(work: Generator[Any, None, R], share: float, what: str) -> Generator[tuple[float, str], None, R]:
    """The value of work whose steps say nothing themselves, or not how far all is."""
    steps = Returning(work)
    for _ in steps:
        yield share, what
    return steps.value


def _reads(step: Step, how: str) -> bool:
    """Does it read statistics of that kind?"""
    return (bool(step.method.needs) and step.statistics == how) or (
        how == "one-shot" and bool(step.split and step.needs)
    )


def prepare(model: Model, recipe: Recipe, progress: Progress | None = None) -> float:
    """Fill the store with all that `apply` will want of the weights alone; seconds it took."""
    started = time.perf_counter()
    of_weights = {role: steps for role, steps in plan_of(model, recipe).items() if not first(steps).method.needs}
    read = finished(reading_of(model, recipe), progress) if recipe.reads_first else None
    start = rewritten(model, recipe, read)
    for share, what in preparing(Work(start, start.storage), of_weights):
        if progress:
            progress(share, what)
    return time.perf_counter() - started
