"""A generator's steps in a plain loop, and what it returns behind it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

S = TypeVar("S")
R = TypeVar("R")
Progress = Callable[[float, str], None]


class CancelledError(Exception):
    """The caller no longer wants the answer."""


class Returning(Generic[S, R]):
    """`for step in steps: …`, then `steps.value`: what `yield from` would have answered."""

    value: R

    def __init__(self, work: Generator[S, None, R]) -> None:
        self._work = work

    def __iter__(self) -> Iterator[S]:
        self.value = yield from self._work


def finished(
    work: Generator[tuple[float, str], None, R],
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> R:
    """Every step of the work, one after the other."""
    steps = Returning(work)
    for share, what in steps:
        if cancelled():
            raise CancelledError
        if progress:
            progress(share, what)
    return steps.value
