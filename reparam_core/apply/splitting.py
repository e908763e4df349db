"""Settings spread over matrices before any of them is applied: a plan with a step of its own for each."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from reparam_core.apply.preparing import preparing
from reparam_core.apply.returning import Returning
from reparam_core.apply.steps import Plan, Work, named_leaves, prepared
from reparam_core.data import Sequences
from reparam_core.errors import ReparamError
from reparam_core.methods.settings import SETTINGS
from reparam_core.parametrizations import Leaf
from reparam_core.recipes import Step
from reparam_core.registry import AXES
from reparam_core.store import key, store


def splitting(work: Work, plan: Plan, read: Sequences | None) -> Generator[tuple[float, str], None, Plan]:
    """The plan, every split carried out on the checkpoint's own matrices; what was found before is kept."""
    found = {role: dict(steps) for role, steps in plan.items()}
    for axis in AXES:
        for step in dict.fromkeys(steps[axis] for steps in plan.values() if axis in steps and steps[axis].split):
            roles = [role for role, steps in plan.items() if steps.get(axis) == step]
            settings = yield from _kept(work, step, roles, read)
            for role in roles:
                own = SETTINGS[axis].model_validate(settings[role])
                found[role][axis] = replace(step, setting=own, split=None)
    return found


def _kept(
    work: Work, step: Step, roles: list[str], read: Sequences | None
) -> Generator[tuple[float, str], None, dict[str, Any]]:
    """Role → its setting as a recipe writes it."""
    name = key(split=work.model.sha256, step=step.as_json(), roles=roles, read=read.provenance() if read else None)
    settings = store().get(name)
    if settings is None:
        settings = yield from _settings(work, step, roles)
        store().put(name, settings, model="", recipe="")
    return settings


def _settings(work: Work, step: Step, roles: list[str]) -> Generator[tuple[float, str], None, dict[str, Any]]:
    assert step.split is not None
    at_once = replace(step, statistics="one-shot")  # what is compressed before a block is not known yet
    alone = replace(at_once, split=None)  # the method reads less than the split, and is prepared as without one
    if step.split.reads_prepared(step.method):
        yield from preparing(work, {role: {step.axis: alone} for role in roles})
    leaves = {role: _whole(work, at_once, role)[1] for role in roles}

    def made(role: str) -> Mapping[str, Tensor]:
        return prepared(work, step.method, dict([_whole(work, alone, role)]), {role: f"{work.model.sha256}/{role}"})

    spreading = Returning(step.split.settings(step.method, step.setting, leaves, made))
    for share in spreading:
        yield share, f"Splitting {step.method.name} over {len(roles)} matrices"
    return {role: one.given() for role, one in spreading.value.items()}


def _whole(work: Work, step: Step, role: str) -> tuple[str, Leaf]:
    """The matrix as its only leaf, by name. Raises ReparamError where it is in parts already."""
    found = list(named_leaves(work, step, role, work.model.form(role)))
    if len(found) > 1:
        raise ReparamError(f"{role} is {work.model.form(role).form.replace('_', ' ')} already: its setting cannot be split.",
                           "Start from the model that it was made of, or leave the split out.")  # fmt: skip
    return found[0]
