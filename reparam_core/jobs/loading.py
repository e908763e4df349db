"""Models that take long to fetch: beside the evaluator, so that no slider waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from reparam_core.jobs.evaluator import Evaluator
from reparam_core.models import Model, load


@cache
def loader() -> Evaluator:
    """This process's worker for models."""
    return Evaluator()


def fetched(name: str) -> Iterator[Model]:
    """The model of that name, fetched and converted where it has to be. Raises ReparamError."""
    yield load(name)
