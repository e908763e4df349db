"""A generator's steps in a plain loop, and what it returns behind it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

S = TypeVar("S")
R = TypeVar("R")


class Returning(Generic[S, R]):
    """`for step in steps: …`, then `steps.value`: what `yield from` would have answered."""

    value: R

    def __init__(self, work: Generator[S, None, R]) -> None:
        self._work = work

    def __iter__(self) -> Iterator[S]:
        self.value = yield from self._work
