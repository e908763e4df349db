"""A recipe applied inside a job: between matrices others may overtake, or the job be abandoned."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TypeVar

from reparam_core.apply import Applying, Setting

T = TypeVar("T")
PAUSE = 0.1  # seconds of work after which others may have the machine


def stepping(work: Applying, tell: Callable[[float, str], T]) -> Generator[T, None, Setting]:
    """The work's setting; now and then on the way, what `tell` makes of how much is done and of what is being done."""
    paused = time.perf_counter()
    while True:
        try:
            share, what = next(work)
        except StopIteration as ended:
            setting: Setting = ended.value
            return setting
        if time.perf_counter() - paused >= PAUSE:
            yield tell(share, what)
            paused = time.perf_counter()
