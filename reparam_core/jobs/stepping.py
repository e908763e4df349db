"""A recipe applied inside a job: between matrices others may overtake, or the job be abandoned."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TypeVar

from reparam_core.apply import Applying, Returning, Setting

T = TypeVar("T")
PAUSE = 0.05  # seconds of work after which others may have the machine


def stepping(work: Applying, tell: Callable[[float, str], T]) -> Generator[T, None, Setting]:
    """The work's setting; now and then on the way, what `tell` makes of how much is done and of what is being done."""
    steps, paused = Returning(work), time.perf_counter()
    for share, what in steps:
        if time.perf_counter() - paused >= PAUSE:
            yield tell(share, what)
            paused = time.perf_counter()
    return steps.value
