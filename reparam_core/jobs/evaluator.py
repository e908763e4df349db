"""The interactive evaluator: one worker, three lanes; a newer request of a session replaces its older one.

Its thread ends with its last job. A thread that has once computed keeps a pool of threads of its own, and beside a second
pool they no longer wait busily for work: waking them then costs more than most of a small model's operations.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from reparam_core.apply import CancelledError
from reparam_core.errors import ReparamError

# What the hand waits for, what an open panel shows, the rest: in this order.
Lane = Literal["interactive", "panel", "background"]
LANES: tuple[Lane, ...] = ("interactive", "panel", "background")
# Seconds that one thread keeps the interpreter from another. Every operation of torch gives it up and wants it back: by
# Python's 5 ms, a pass of a hundred operations beside a page that is being drawn takes half a second instead of 20 ms.
SWITCH = 0.0005
LOOK = 2.0  # seconds after which it is looked whether someone came back
PATIENCE = 300.0  # seconds that a job waits for whoever asked for it
State = Literal["waiting", "running", "done", "failed", "cancelled"]


def always() -> bool:
    """Someone is there."""
    return True


@dataclass
class Ticket:
    """What was asked, and what is known of it so far."""

    session: str
    name: str
    make: Callable[[], Iterator[Any]]
    lane: Lane
    watched: Callable[[], bool] = always  # is anyone still there who asked for it?
    latest: Any = None
    state: State = "waiting"
    error: ReparamError | None = None
    _steps: Iterator[Any] | None = None
    _left: float | None = None  # since when no one has been there, by the monotonic clock
    _over: threading.Event = field(default_factory=threading.Event)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pending(self) -> bool:
        """Is more to come?"""
        return self.state in ("waiting", "running")

    def cancel(self) -> None:
        """Abandon it at its next step."""
        self.finish("cancelled")

    def wait(self, timeout: float | None = None) -> bool:
        """Until it is over; False when the time ran out first."""
        return self._over.wait(timeout)

    def left(self) -> bool:
        """Has no one been there for a while? Whoever was only cut off has that long to come back."""
        if self.watched():
            self._left = None
            return False
        self._left = self._left or time.monotonic()
        if time.monotonic() - self._left > PATIENCE:
            self.cancel()
        return True

    def finish(self, state: State, error: ReparamError | None = None) -> None:
        """It is over: only the first reason counts."""
        with self._changing:
            if self.pending:
                self.state, self.error = state, error
        self._over.set()

    def step(self) -> None:
        """One step of the work; what it yields is the latest partial result."""
        with self._changing:
            self.state = "running" if self.state == "waiting" else self.state
        try:
            self._steps = self._steps or self.make()
            self.latest = next(self._steps)
        except StopIteration:
            self.finish("done")
        except CancelledError:
            self.finish("cancelled")
        except ReparamError as error:
            self.finish("failed", error)
        except Exception as error:
            logging.getLogger(__name__).exception("The job %s failed", self.name)  # for whoever runs the server
            told = ReparamError(f"The computation failed: {type(error).__name__}: {error}.", "Try again.")
            self.finish("failed", told)


class Evaluator:
    """Runs jobs that are generators: every yield is a partial result, and where they may be overtaken or abandoned."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[tuple[str, str], Ticket] = OrderedDict()
        self._changed = threading.Condition()
        self._working = False
        self._drawing = 0

    def submit(
        self,
        session: str,
        name: str,
        make: Callable[[], Iterator[Any]],
        lane: Lane = "interactive",
        watched: Callable[[], bool] = always,
    ) -> Ticket:
        """Ask for a job, which goes on only while it is `watched`; the session's older job of that name is abandoned."""
        ticket = Ticket(session, name, make, lane, watched)
        self.abandon(session, name)
        with self._changed:
            self._jobs[(session, name)] = ticket
            self._changed.notify()
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, name="evaluator", daemon=True).start()
        return ticket

    def answered(self, session: str, name: str, answer: Any) -> Ticket:
        """In the place of a job whose answer is known: it waits for nothing; the older job of that name is abandoned."""
        self.abandon(session, name)
        ticket = Ticket(session, name, lambda: iter(()), "interactive", latest=answer)
        ticket.finish("done")
        return ticket

    def abandon(self, session: str, name: str) -> None:
        """The session's job of that name, where there is one."""
        with self._changed:
            older = self._jobs.pop((session, name), None)
            if older is not None:
                older.cancel()

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """While a page is drawn nothing in the background begins: it would take the interpreter from the page."""
        with self._changed:
            self._drawing += 1
        try:
            yield
        finally:
            with self._changed:
                self._drawing -= 1
                self._changed.notify()

    def _work(self) -> None:
        while (ticket := self._taken()) is not None:
            ticket.step()

    def _taken(self) -> Ticket | None:
        """Whose turn it is, waited for where no one is watching; None where nothing is left to be done."""
        with self._changed:
            while (ticket := self._next()) is None and self._jobs:
                self._changed.wait(LOOK)
            self._working = ticket is not None
            return ticket

    def _next(self) -> Ticket | None:
        """Of the first lane that has any, the job that waited longest; only what is watched."""
        for name in [name for name, one in self._jobs.items() if not one.pending]:
            del self._jobs[name]
        for lane in LANES[:1] if self._drawing else LANES:
            for name, one in self._jobs.items():
                if one.lane == lane and not one.left():
                    self._jobs.move_to_end(name)
                    return one
        return None


@cache
def evaluator() -> Evaluator:
    """This process's evaluator."""
    sys.setswitchinterval(SWITCH)
    return Evaluator()
