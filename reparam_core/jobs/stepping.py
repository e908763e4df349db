"""Steps of a job: a recipe applied so that others may overtake between matrices, and work that leaves a core to others."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from reparam_core.apply import Returning, single_threaded

T = TypeVar("T")
R = TypeVar("R")
PAUSE = 0.05  # seconds of work after which others may have the machine


def stepping(work: Generator[tuple[float, str], None, R], tell: Callable[[float, str], T]) -> Generator[T, None, R]:
    """The work's value; now and then on the way, what `tell` makes of how much is done and of what is being done."""
    steps, paused = Returning(work), time.perf_counter()
    for share, what in steps:
        if time.perf_counter() - paused >= PAUSE:
            yield tell(share, what)
            paused = time.perf_counter()
    return steps.value


def last_of(steps: Iterator[R], tell: Callable[[], T]) -> Generator[T, None, R]:
    """The last of at least one; after each, where others may overtake, what `tell` says."""
    found: list[R] = []
    for one in steps:
        found = [one]
        yield tell()
    (last,) = found
    return last


def aside(steps: Iterator[T]) -> Iterator[T]:
    """The same steps on one thread: a browser that draws meanwhile keeps a core, and a step never waits for one."""
    while True:
        with single_threaded():
            try:
                found = next(steps)
            except StopIteration:
                return
        yield found
