"""Does a recipe fit a model? Told by shapes and kinds, before any number is touched."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from reparam_core.apply.caching import refuse_cache
from reparam_core.apply.rewriting import refuse
from reparam_core.apply.steps import Plan, first, in_order, nothing_left, nothing_read, steps_of, told_where
from reparam_core.data import Sequences
from reparam_core.data import calibration as sequences_of
from reparam_core.errors import ReparamError
from reparam_core.methods.base import Method, shape_of
from reparam_core.models import Model
from reparam_core.recipes import Recipe, Step
from reparam_core.written import WRITTEN, reading, written_before

Shape = tuple[int, int]
OF_THE_BASE = {"gradients", "losses"}  # of what a method needs
MOST_TOLD = 4  # roles that a rule lacks


@dataclass(frozen=True)
class Checked:
    """What a recipe comes to on a model: the steps of every matrix, and the text that they read."""

    plan: Plan
    calibration: Sequences | None


def check(model: Model, recipe: str | Mapping[str, Any] | Recipe, calibration: Sequences | None = None) -> Checked:
    """Raises ReparamError for a recipe that is wrong or does not fit the model: what `apply` asks first.

    `calibration` takes the place of the recipe's own. What only the numbers tell (an energy's rank) is found out later.
    """
    parsed = Recipe.parse(recipe)
    refuse(model, parsed.transform)
    refuse_cache(model, parsed)
    plan = plan_of(model, parsed)
    read = (calibration if parsed.reads else None) or calibration_of(model, parsed)
    return Checked(plan, read)


def plan_of(model: Model, recipe: Recipe) -> Plan:
    """The steps of every matrix. Raises ReparamError where one of them does not fit."""
    plan = _concerned(model, recipe.resolve({role: one.compressed_by_default for role, one in model.matrices.items()}))
    for role in sorted(plan, key=lambda one: min(model.matrices[one].shape)):  # the tightest limit is told
        _check_matrix(model, role, plan[role])
    _refuse_the_whole_in_order(plan)
    return plan


def _concerned(model: Model, plan: Plan) -> Plan:
    """Without the steps that leave a matrix alone. Raises ReparamError where one has nothing to do, or a part of it only."""
    for step in steps_of(plan):
        given = {role for role, own in plan.items() if own.get(step.axis) == step}
        blocks = {step.method.block(role) for role in given} - {None}
        if not blocks:
            raise ReparamError(f"{step.short()} has nothing to do: it {step.method.summary}, and the rule covers none.",
                               "Let the rule cover all matrices of the blocks.")  # fmt: skip
        lacking = [role for role in model.matrices if step.method.block(role) in blocks and role not in given]
        if lacking:
            raise ReparamError(f"{step.short()} takes a block's matrices together, and the rule covers only a part of "
                               f"{step.method.block(lacking[0])}.", f"Add {', '.join(lacking[:MOST_TOLD])}"
                               f"{' …' if len(lacking) > MOST_TOLD else ''}.")  # fmt: skip
    concerned = {
        role: {axis: step for axis, step in own.items() if step.method.block(role) is not None}
        for role, own in plan.items()
    }
    return {role: own for role, own in concerned.items() if own}


def calibration_of(model: Model, recipe: Recipe) -> Sequences | None:
    """The sequences that the recipe's own calibration names; None where no step reads any, or the model has yet to write them."""
    asked = recipe.calibration
    if not recipe.reads:
        return None
    known = written_before if asked.text == WRITTEN else partial(sequences_of, name=asked.text)
    return known(model, count=asked.sequences, length=asked.length, offset=asked.offset, sentences=asked.sentences)


def reading_of(model: Model, recipe: Recipe) -> Generator[tuple[float, str], None, Sequences | None]:
    """The same in steps, with what the model has yet to write."""
    asked = recipe.calibration
    if not recipe.reads:
        return None
    return (yield from reading(model, asked.text, asked.sequences, asked.length, asked.offset, asked.sentences))


def _check_matrix(model: Model, role: str, steps: Mapping[str, Step]) -> None:
    """Each step against the shapes that the one before it leaves."""
    shapes = _leaf_shapes(model, role, first(steps))
    for step in in_order(steps.values()):
        if step.needs and _only_looked_up(model, role):
            raise nothing_read(role, step)
        for shape in shapes:
            with told_where(role):
                step.method.refuse(step.setting, shape)
        shapes = [part for shape in shapes for part in step.setting.parts(shape)]


def _leaf_shapes(model: Model, role: str, step: Step) -> list[Shape]:
    """Of what the first step works on. Raises ReparamError where an earlier compression left nothing."""
    if role not in model.packed:
        return [model.matrices[role].shape]
    leaves = model.packed[role].leaves()
    if not leaves and model.packed[role].operations:
        raise nothing_left(role, model.packed[role], step)
    return [shape_of(leaf) for leaf in leaves]


def _only_looked_up(model: Model, role: str) -> bool:
    """Do all that use the matrix read rows of it, so that nothing is multiplied with it?"""
    return all(isinstance(model.module.get_submodule(path), nn.Embedding) for path in model.users(role))


def goes_by_blocks(method: Method) -> bool:
    """May what the method needs be of the inputs behind compressed blocks, one block after the other?"""
    return method.unit != "model" and not method.needs & OF_THE_BASE


def _refuse_the_whole_in_order(plan: Plan) -> None:
    """Raises ReparamError where a step wants what block after block does not give: every matrix at once, or what is of the base alone."""
    steps = steps_of(plan)
    sequential = [step for step in steps if step.method.needs and step.statistics == "sequential"]
    for step in sequential:
        for what in sorted(step.method.needs & OF_THE_BASE):
            raise ReparamError(f"{step.method.name} needs {what}, which are known of the untouched model alone.",
                               f"Write {step.short().replace('@sequential', '')}.")  # fmt: skip
    if sequential and any(step.method.unit == "model" for step in steps):
        raise ReparamError("A step that looks at the whole model at once cannot go block by block.",
                           "Take the scope matrix or layer beside sequential statistics.")  # fmt: skip
