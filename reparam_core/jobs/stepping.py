"""A recipe applied inside a job: every matrix is a place where others may overtake, or the job be abandoned."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from reparam_core.apply import Applying, Setting

T = TypeVar("T")


def stepping(work: Applying, tell: Callable[[float, str], T]) -> Generator[T, None, Setting]:
    """The work's setting; at every step on the way, what `tell` makes of how much is done and of what is being done."""
    while True:
        try:
            share, what = next(work)
        except StopIteration as ended:
            setting: Setting = ended.value
            return setting
        yield tell(share, what)
