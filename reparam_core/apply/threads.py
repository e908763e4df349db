"""Mathematics on one thread each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class _Threads:
    """Who wants mathematics on one thread each: the first sets it, the last restores what was there."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                torch.set_num_threads(self._before)


_threads = _Threads()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Mathematics on one thread each while it lasts, also where several threads ask for it at once."""
    _threads.enter()
    try:
        yield
    finally:
        _threads.leave()
