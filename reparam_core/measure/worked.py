"""What a setting comes to on the model on screen: the first matrix that it is applied to, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from reparam_core.apply.steps import units
from reparam_core.errors import ReparamError
from reparam_core.methods.base import Method, shape_of
from reparam_core.methods.settings import SparsitySetting
from reparam_core.models import Model
from reparam_core.parametrizations import Leaf
from reparam_core.recipes import Rule, Step
from reparam_core.roles import layer_of


def first_unit(model: Model, where: str | None, method: Method) -> dict[str, Leaf]:
    """The first matrix that the method takes under a rule for these places, with what it takes together with it.

    A leaf of the right shape stands for a matrix, as no number of it matters. Empty where the rule covers none.
    """
    rule = Rule(where=where)
    taken = [role for role, one in model.matrices.items()
             if rule.matches(role, one.compressed_by_default) and method.block(role) is not None]  # fmt: skip
    chosen = units(method.unit, taken)[0] if taken else []
    return {role: Leaf("", torch.empty(model.matrices[role].shape, device="meta"), head=model.head_width(role))
            for role in chosen}  # fmt: skip


def on_screen(model: Model, where: str | None, kind: type[Method], said: Mapping[str, Any] | None) -> str:
    """`layers.0.attention.q is m × n = 576 × 576: r = 230 …`; the shape alone without a step, or where it is refused."""
    try:
        step = None if said is None else Step.parse(kind.axis, said)
        found = first_unit(model, where, kind() if step is None else step.method)
        told = step.method.worked(found, step.setting) if step and found else ""
    except ReparamError:  # of which the page tells where it reads the recipe
        return on_screen(model, where, kind, None)
    if not found:
        return ""
    role, leaf = next(iter(found.items()))
    if step is not None and len(found) > 1:
        return f"{layer_of(role) if step.method.unit == 'layer' else 'The model'}: {told}"
    rows, columns = shape_of(leaf)
    spread = ", before it is spread over the matrices" if step and step.split else ""
    return f"{role} is m × n = {rows:,} × {columns:,}{told and f': {told}{spread}'}"


def share_of_zeros(setting: SparsitySetting) -> float | None:
    """Of a matrix; None where a threshold on its weights says how many."""
    if setting.kept_of is not None:
        return 1 - setting.kept_of[0] / setting.kept_of[1]
    return setting.fraction
