"""The steps of a recipe on the matrices of one plan: rank, then sparsity, then bits, each on every leaf before it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from reparam_core.errors import ReparamError
from reparam_core.methods.base import SEPARATOR, Method, Prepared, Unit, role_of
from reparam_core.models import Model
from reparam_core.parametrizations import Leaf, Parametrization, Statistics
from reparam_core.recipes import Step
from reparam_core.registry import AXES
from reparam_core.roles import layer_of
from reparam_core.store import key, store

Plan = Mapping[str, Mapping[str, Step]]  # role → axis → step
Making = Generator[tuple[float, str], None, dict[str, Parametrization]]
Known = dict[str, Mapping[str, Statistics]]  # one-shot or sequential → role → what is known of its inputs


@dataclass
class Work:
    """What the steps of one recipe have in common."""

    model: Model
    storage: torch.dtype
    known: Known = field(default_factory=dict)
    prepare: float = 0.0  # seconds that were spent preparing

    def apart(self) -> Work:
        """The same for another thread, with a time of its own: whoever waits for several takes it once."""
        return replace(self, prepare=0.0)

    def statistics(self, step: Step, role: str) -> Statistics | None:
        """Of the role's inputs, where the step reads them. Raises ReparamError where there are none."""
        if not step.needs:
            return None
        found = self.known.get(step.statistics, {}).get(role)
        if found is None:
            raise nothing_read(role, step)
        return found.shrunk(step.shrinkage) if step.shrinkage else found


def nothing_read(role: str, step: Step) -> ReparamError:
    """What is told of a matrix whose inputs no calibration text shows."""
    return ReparamError(f"{role} multiplies nothing that the calibration text reaches, and {step.short()} needs its inputs.",
                        "Leave that matrix out, or take a method that looks at the weights alone.")  # fmt: skip


def nothing_left(role: str, form: Parametrization, step: Step) -> ReparamError:
    """What is told of a matrix that an earlier compression left no numbers of."""
    return ReparamError(f"{role} is {form.form.replace('_', ' ')} already: {step.short()} has nothing to work on.",
                        "Start from the model that it was made of, or leave that matrix out.")  # fmt: skip


def transforming(work: Work, plan: Plan, dtype: torch.dtype) -> Making:
    """The plan's matrices in their new forms, stored and ready to run in that dtype.

    Yields how much is done before each unit of each step, and its first matrix.
    """
    forms = {role: work.model.form(role) for role in plan}
    history = {role: f"{work.model.sha256}/{role}" for role in plan}
    todo = [(step, unit) for step in in_order(steps_of(plan)) for unit in units(step.method.unit, _roles(plan, step))]
    for index, (step, unit) in enumerate(todo):
        yield index / len(todo), f"Rewriting {unit[0]}"
        forms |= _step(work, step, {role: forms[role] for role in unit}, history)
        history |= {role: f"{history[role]}|{step.as_json()}" for role in unit}
    for role, form in forms.items():
        forms[role] = form.stored(work.storage)
        forms[role].materialize(dtype)
    return forms


def steps_of(plan: Plan) -> list[Step]:
    """Every step of the plan, once."""
    return list(dict.fromkeys(step for steps in plan.values() for step in steps.values()))


def _roles(plan: Plan, step: Step) -> list[str]:
    return [role for role, steps in plan.items() if steps.get(step.axis) == step]


def in_order(steps: Iterable[Step]) -> list[Step]:
    """What takes whole rows and columns away first, then rank, sparsity, bits."""
    return sorted(steps, key=lambda step: (not step.method.removes, AXES.index(step.axis)))


def first(steps: Mapping[str, Step]) -> Step:
    """The step that a matrix meets first."""
    return in_order(steps.values())[0]


def portions(plan: Plan) -> list[list[str]]:
    """Matrices that are made without the others: those of a layer, or all where a step looks at the whole model at once."""
    whole = any(step.method.unit == "model" for step in steps_of(plan))
    return units("model" if whole else "layer", list(plan))


def batches(plan: Plan) -> list[list[str]]:
    """The matrices of a portion that have to be looked at together: those with steps of a larger unit; any other alone."""
    wider = [role for role, steps in plan.items() if any(step.method.unit != "matrix" for step in steps.values())]
    return ([wider] if wider else []) + [[role] for role in plan if role not in wider]


def units(unit: Unit, roles: list[str]) -> list[list[str]]:
    """The matrices that share one setting: each, those of a layer, or all."""
    groups: dict[str, list[str]] = {}
    for role in roles:
        name = {"matrix": role, "layer": layer_of(role), "model": ""}[unit]
        groups.setdefault(name, []).append(role)
    return list(groups.values())


def _step(
    work: Work, step: Step, forms: dict[str, Parametrization], history: Mapping[str, str]
) -> dict[str, Parametrization]:
    """One step on every leaf of these forms."""
    leaves = {name: leaf for role, form in forms.items() for name, leaf in named_leaves(work, step, role, form)}
    for names in _units_of_leaves(step.method, leaves):
        chosen = {name: leaves[name] for name in names}
        made = prepared(work, step.method, chosen, history)
        with told_where(names[0]):
            for name, form in step.method.at(made, chosen, step.setting).items():
                forms[role_of(name)] = forms[role_of(name)].replace(chosen[name].path, form)
    return forms


@contextmanager
def told_where(name: str) -> Iterator[None]:
    """What goes wrong with a matrix, or with a leaf of it, is told with its role."""
    try:
        yield
    except ReparamError as error:
        raise ReparamError(f"{role_of(name)}: {error.problem}", error.remedy, error.topic) from error


def named_leaves(work: Work, step: Step, role: str, form: Parametrization) -> Iterator[tuple[str, Leaf]]:
    """What the step works on, with role and path. Raises ReparamError where an earlier compression left nothing.

    Of a matrix that is gone altogether, but for a bias, there is nothing to work on, and nothing amiss.
    """
    found = form.leaves(work.statistics(step, role))
    if not found and form.operations:
        raise nothing_left(role, form, step)
    head = work.model.head_width(role)
    return ((f"{role}{SEPARATOR}{leaf.path}", replace(leaf, head=head)) for leaf in found)


def _units_of_leaves(method: Method, leaves: Mapping[str, Leaf]) -> Iterator[list[str]]:
    """A method that looks at single matrices gets the leaves one by one, any other all at once."""
    if method.unit == "matrix":
        yield from ([name] for name in leaves)
    elif leaves:
        yield list(leaves)


def prepared(work: Work, method: Method, leaves: Mapping[str, Leaf], history: Mapping[str, str]) -> Prepared:
    """From the store where the leaves are the checkpoint's own matrices, else made anew; what is found costs nothing."""
    started, made = time.perf_counter(), list[Prepared]()

    def make() -> Prepared:
        with told_where(next(iter(leaves))):
            made.append(method.prepare(leaves))
        return made[0]

    own = all("|" not in history[role_of(name)] for name in leaves)
    if (
        own
        and type(method).caches
        and not any(leaf.statistics and leaf.statistics.fleeting for leaf in leaves.values())
    ):
        found = store().prepared(prepared_name(method, leaves, history), make)
    else:
        found = make()
    work.prepare += time.perf_counter() - started if made else 0
    return found


def prepared_name(method: Method, leaves: Mapping[str, Leaf], history: Mapping[str, str]) -> str:
    """The key of what a method prepares for these leaves: the same for all with the same inputs, where it reads no more."""
    content = [history[role_of(name)] + name for name in leaves] if method.reads_weight else []
    told = [leaf.statistics.digest for leaf in leaves.values() if leaf.statistics is not None]
    return key(method=method.identity_prepared(), content=content, **({"statistics": told} if told else {}))
