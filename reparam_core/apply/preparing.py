"""What the store lacks of every matrix's first step, made side by side before the first of them is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from reparam_core.apply.returning import finished
from reparam_core.apply.steps import Plan, Work, batches, first, named_leaves, prepared, prepared_name, transforming
from reparam_core.apply.threads import single_threaded
from reparam_core.parametrizations import Parametrization
from reparam_core.recipes import Step
from reparam_core.store import store

SIDE_BY_SIDE = 2  # matrices prepared at once


def preparing(work: Work, plan: Plan) -> Iterator[tuple[float, str]]:
    """Some matrices side by side, pausing after each few: yields how much is done and what comes next.

    One LAPACK thread each: two on two busy cores can stall an SVD for minutes.
    """
    wanted = _missing(work, plan)
    if len(wanted) < 2:
        return
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for start in range(0, len(wanted), 2 * SIDE_BY_SIDE):
            yield start / len(wanted), f"Preparing {wanted[start][1]}"
            started = time.perf_counter()
            with single_threaded():
                list(pool.map(lambda one: _prepare(work, *one), wanted[start : start + 2 * SIDE_BY_SIDE]))
            work.prepare += time.perf_counter() - started


def side_by_side(work: Work, plan: Plan, dtype: torch.dtype) -> dict[str, Parametrization]:
    """The plan's matrices in their new forms, two at a time, one thread each: NumPy's passes have no more."""
    plans = [{role: plan[role] for role in batch} for batch in batches(plan)]
    works = [work.apart() for _ in plans]
    with single_threaded(), ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        made = list(pool.map(lambda apart, own: finished(transforming(apart, own, dtype)), works, plans))
    work.prepare += sum(apart.prepare for apart in works) / max(1, min(SIDE_BY_SIDE, len(works)))
    return {role: form for forms in made for role, form in forms.items()}


def _prepare(work: Work, step: Step, role: str) -> None:
    """Into the store."""
    apart = work.apart()
    for name, leaf in named_leaves(work, step, role, work.model.form(role)):
        prepared(apart, step.method, {name: leaf}, {role: f"{work.model.sha256}/{role}"})


def _missing(work: Work, plan: Plan) -> list[tuple[Step, str]]:
    """The first step of every matrix, where it looks at that matrix alone, has something to keep and has not kept it.

    Of matrices that share what is prepared, the first.
    """
    wanted: dict[tuple[str, ...], tuple[Step, str]] = {}
    for role, steps in plan.items():
        step = first(steps)
        if step.method.unit == "matrix" and type(step.method).caches and (lacking := _lacking(work, step, role)):
            wanted.setdefault(lacking, (step, role))
    return list(wanted.values())


def _lacking(work: Work, step: Step, role: str) -> tuple[str, ...]:
    """The keys of what is not kept."""
    history = {role: f"{work.model.sha256}/{role}"}
    leaves = named_leaves(work, step, role, work.model.form(role))
    names = (prepared_name(step.method, {name: leaf}, history) for name, leaf in leaves)
    return tuple(name for name in names if not store().has_tensors(name))
