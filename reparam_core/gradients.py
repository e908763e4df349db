"""What the gradients of the loss over calibration text tell of every matrix's rows: its Fisher information."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from reparam_core.data import IGNORED, Sequences
from reparam_core.errors import ReparamError
from reparam_core.models import Model
from reparam_core.models.model import Adapter, logits_of, replace_module, structural_clone
from reparam_core.parametrizations import Statistics
from reparam_core.statistics import Gathering, given_to
from reparam_core.store import key, store

HIDDEN_EVERY = 7  # positions, of which a masked model is asked for one: about the share it learned with


def with_gradients(
    model: Model, known: Mapping[str, Statistics], roles: Iterable[str], calibration: Sequences
) -> Gathering:
    """The same, and of these roles the Fisher information of the base's rows too, from the store where it is known."""
    wanted = set(roles) & set(known)
    if not wanted:
        return dict(known)
    name = key(fisher=model.sha256, calibration=calibration.provenance())
    if store().tensors(name) is None:
        yield from _gather(model, name, calibration)
    found = store().tensors(name)
    if found is None:
        raise ReparamError(
            "The gradients over the calibration text could not be kept.", "Make room on the cache's disk."
        )
    return {role: replace(one, fisher=found.get(role)) if role in wanted else one for role, one in known.items()}


def _gather(model: Model, name: str, calibration: Sequences) -> Iterator[tuple[float, str]]:
    """One backward pass a sequence, for every matrix: a rule for one or for all then finds the same in the store."""
    sums: dict[str, Tensor] = {}
    watched = _learning(model, sums)
    count = len(calibration.ids)
    for index, ids in enumerate(calibration.ids.split(1)):
        yield index / count, f"Gradients of the calibration text: {index} of {count} sequences"
        with torch.inference_mode(False), torch.enable_grad():
            loss(model, watched, ids.clone()).backward()
    store().save_tensors(name, sums)


def _learning(model: Model, sums: dict[str, Tensor]) -> nn.Module:
    """A clone whose matrices are the base's own numbers, but have gradients: each is added up, then dropped at once."""
    watched = structural_clone(model.module)
    readers: dict[str, list[str]] = {}
    for role, matrix in model.matrices.items():
        readers.setdefault(matrix.module, []).append(role)
    for path, roles in readers.items():
        base: Any = watched.get_submodule(path)
        if isinstance(base, Adapter):  # a form has no gradients: its matrix has
            with torch.inference_mode(False):  # which the pass backwards keeps
                base = base.linear()
            replace_module(watched, path, base)
        weight = nn.Parameter(base.weight.detach(), requires_grad=True)
        weight.register_post_accumulate_grad_hook(partial(_add, model, roles, sums))
        for user in dict.fromkeys(user for role in roles for user in model.users(role)):
            watched.get_submodule(user).weight = weight
    return watched


def _add(model: Model, roles: list[str], sums: dict[str, Tensor], weight: Tensor) -> None:
    gradient, weight.grad = weight.grad, None
    assert gradient is not None
    for role in roles:
        rows = model.part(role, gradient).float().square().sum(1)
        sums[role] = sums[role] + rows if role in sums else rows


def loss(model: Model, module: nn.Module, ids: Tensor) -> Tensor:
    """What the model learned to make small, on one sequence (1, L): its objective's own.

    A classifier is taken at its word, as no text is labelled. An encoder without a head has no loss: its answers are
    taken for means of unit normals, and one draw, always the same, for the truth.
    """
    answers = answers_of(model, module, ids)
    return missed(answers, truth_of(model, answers, ids))


def answers_of(model: Model, module: nn.Module, ids: Tensor) -> Tensor:
    """What the model, or a clone of it, makes of one sequence: (answers, classes), of an encoder (answers, width)."""
    hidden = getattr(model.tokenizer, "mask_token_id", None) if model.objective == "masked" else None
    seen = ids if hidden is None else ids.masked_fill(_hidden(ids), hidden)
    found: Any = module(**given_to(model, seen))
    return (found.last_hidden_state if model.objective == "encoder" else logits_of(found)).flatten(0, -2)


def truth_of(model: Model, answers: Tensor, ids: Tensor) -> Tensor:
    """What that loss holds answers to: a class for each, or for an encoder a point; `answers` are the model's own."""
    if model.objective == "encoder":
        return answers.detach() - torch.randn(answers.shape, generator=torch.Generator().manual_seed(0))
    if model.objective == "classification":
        return answers.detach().argmax(-1)
    if model.objective == "causal":
        return nn.functional.pad(ids[0, 1:], (0, 1), value=IGNORED)
    return ids[0] if model.objective == "seq2seq" else ids[0].masked_fill(~_hidden(ids), IGNORED)


def missed(answers: Tensor, truth: Tensor) -> Tensor:
    """How far the answers are from the truth, on average: cross-entropy, or half of the squared distance."""
    if truth.is_floating_point():
        return (answers - truth).square().sum() / (2 * len(answers))
    return cross_entropy(answers, truth)


def answers_scored(model: Model, length: int) -> int:
    """Over how many of its answers the mean loss of one sequence of that many tokens is taken."""
    return {"masked": max(1, length // HIDDEN_EVERY), "classification": 1}.get(model.objective, length)


def _hidden(ids: Tensor) -> Tensor:
    """Which positions of a sequence a masked model is asked for."""
    return torch.arange(ids.shape[1]) % HIDDEN_EVERY == HIDDEN_EVERY // 2
