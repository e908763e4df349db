"""recipe + model → Setting: a structural clone that shares with the base whatever the recipe leaves alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

import torch

from reparam_core.apply.caching import with_cache
from reparam_core.apply.checking import check, plan_of, reading_of
from reparam_core.apply.finished import Finished
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
    """The changed matrices; from the store what was made before of a setting that takes long."""
    slow = any(not type(step.method).instant or step.statistics == "sequential" for step in steps_of(plan))
    parts = Finished(_name_of_forms(work, recipe, read) if slow else None)
    forms = parts.kept(portions(plan))
    if len(forms) < len(plan):
        asked = _asking(plan, "one-shot")
        if read is not None and asked:
            work.known["one-shot"] = yield from _of_the_base(work.model, plan, asked, read)
        plan = yield from splitting(work, plan, read)
        in_order = any(_reads(step, "sequential") for step in steps_of(plan))
        if read is not None and in_order:
            forms |= yield from _in_order(work, plan, read, forms, parts)
        else:
            missing = {role: steps for role, steps in plan.items() if role not in forms}
            forms |= yield from _at_once(work, missing, dtype, parts)
    for form in forms.values():
        form.materialize(dtype)
    return {role: forms[role] for role in plan}


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


def _at_once(work: Work, plan: Plan, dtype: torch.dtype, parts: Finished) -> Making:
    """Every matrix as the checkpoint has it."""
    forms: dict[str, Parametrization] = {}
    yield from preparing(work, plan)
    together = portions(plan)
    for index, roles in enumerate(together):
        steps = Returning(_together(work, {role: plan[role] for role in roles}, dtype))
        for share, what in steps:
            yield (index + share) / len(together), what
        parts.keep(steps.value)
        forms |= steps.value
    return forms


def _together(work: Work, plan: Plan, dtype: torch.dtype) -> Making:
    """A portion: matrix by matrix where that takes long, so that there are places to stop, else two at a time."""
    if not all(type(step.method).instant for step in steps_of(plan)):
        return (yield from transforming(work, plan, dtype))
    yield 0.0, f"Rewriting {next(iter(plan))}"
    return side_by_side(work, plan, dtype)


def _in_order(work: Work, plan: Plan, read: Sequences, kept: Mapping[str, Parametrization], parts: Finished) -> Making:
    """Block by block, each reading what the compressed blocks before it answer; what stands outside them last.

    Blocks that are kept are read through, and not made again.
    """
    forms = dict(kept)
    for form in forms.values():
        form.materialize(torch.float32)
    walk, done = Walk(work.model, structural_clone(work.model.module), read), 0
    for block in walk.blocks():
        share = done / len(walk.layers)
        if block is None:
            yield share, "Reading the calibration text behind what is compressed"
            continue
        mine = {role: steps for role, steps in plan.items() if layer_of(role) == block.layer}
        missing = {role: steps for role, steps in mine.items() if role not in forms}
        gathered = walk.statistics(block, _asking(missing, "sequential"))
        work.known["sequential"] = yield from _told(gathered, share, f"Reading the calibration text in {block.layer}")
        if missing:
            yield share, f"Compressing {block.layer}"
            made = side_by_side(work, missing, torch.float32)
            parts.keep(made)
            forms |= made
        work.model.install(walk.module, {role: forms[role] for role in mine})
        done += 1
    return forms | (yield from _outside(work, walk, {role: plan[role] for role in plan if role not in forms}, parts))


def _outside(work: Work, walk: Walk, plan: Plan, parts: Finished) -> Making:
    """What stands in no block, behind what every block has become."""
    gathered = walk.outside(_asking(plan, "sequential"))
    work.known["sequential"] = yield from _told(gathered, 1.0, "Reading the calibration text behind every block")
    forms: dict[str, Parametrization] = {}
    for roles in portions(plan):
        made = transforming(work, {role: plan[role] for role in roles}, torch.float32)
        forms |= yield from _told(made, 1.0, f"Rewriting {roles[0]}")
        parts.keep({role: forms[role] for role in roles})
    return forms


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
