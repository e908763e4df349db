"""Task accuracies: right answers to labelled questions, beside the base and the commonest answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reparam_core.apply import Setting
from reparam_core.data import TABLES, table
from reparam_core.measure.evaluation import evaluation, unknown_labels
from reparam_core.measure.quality import Quality, quality, quality_steps
from reparam_core.models import Model

TASKS = {
    "causal": {"movie-reviews": 96, "last-words": 96, "state-capitals": 50},
    "classification": {"movie-reviews": 1500},
    "seq2seq": {"dates": 600},
}


def tasks_of(model: Model) -> dict[str, int]:
    """The tasks that suit a model, with how many questions of each: none without a tokenizer, or for other labels."""
    wanted = TASKS.get(model.objective, {}) if model.tokenizer is not None else {}
    return {name: count for name, count in wanted.items() if not unknown_labels(model, table(name))}


def task_report(found: Quality) -> dict[str, Any]:
    """As a measurement reports it."""
    own, delta = found.accuracy_interval, found.delta_accuracy_interval
    return {
        "n": found.answers,
        "accuracy": found.accuracy,
        "accuracy_ci95": list(own) if own else None,
        "base_accuracy": found.base_accuracy,
        "delta_ci95": list(delta) if delta else None,
        "majority": found.evaluation.majority,
        "labels": list(found.evaluation.labels),
        "confusion": found.confusion if found.evaluation.labels else None,
    }


def tasks(setting: Setting) -> dict[str, dict[str, Any]]:
    """Every task of this model's objective."""
    wanted = tasks_of(setting.model)
    return {name: task_report(quality(setting, evaluation(setting.model, name, n))) for name, n in wanted.items()}


def task_steps(setting: Setting) -> Iterator[dict[str, dict[str, Any]]]:
    """The same while it grows, for whoever watches: the tasks so far after every batch of questions."""
    reports: dict[str, dict[str, Any]] = {}
    for name, count in tasks_of(setting.model).items():
        for found in quality_steps(setting, evaluation(setting.model, name, count)):
            reports = reports | {name: task_report(found) | {"title": TABLES[name].title, "final": found.final}}
            yield reports
