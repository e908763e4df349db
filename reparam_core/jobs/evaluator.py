"""The interactive evaluator: one worker, two lanes; a newer request of a session replaces its older one."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from reparam_core.apply import CancelledError
from reparam_core.errors import ReparamError

Lane = Literal["interactive", "background"]
State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass
class Ticket:
    """What was asked, and what is known of it so far."""

    session: str
    name: str
    make: Callable[[Ticket], Iterator[Any]]
    lane: Lane
    latest: Any = None
    state: State = "waiting"
    error: ReparamError | None = None
    _steps: Iterator[Any] | None = None
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
            self._steps = self._steps or self.make(self)
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
        threading.Thread(target=self._work, name="evaluator", daemon=True).start()

    def submit(
        self, session: str, name: str, make: Callable[[Ticket], Iterator[Any]], lane: Lane = "interactive"
    ) -> Ticket:
        """Ask for a job; the session's older job of that name is abandoned.

        `make` gets its own ticket: a long step may set `latest` on it, and look whether it is still `pending`.
        """
        ticket = Ticket(session, name, make, lane)
        with self._changed:
            older = self._jobs.pop((session, name), None)
            if older is not None:
                older.cancel()
            self._jobs[(session, name)] = ticket
            self._changed.notify()
        return ticket

    def _work(self) -> None:
        while True:
            with self._changed:
                while (ticket := self._next()) is None:
                    self._changed.wait()
            ticket.step()

    def _next(self) -> Ticket | None:
        """The interactive job that waited longest, else a background one; what is over is forgotten."""
        for name in [name for name, one in self._jobs.items() if not one.pending]:
            del self._jobs[name]
        for lane in ("interactive", "background"):
            for name, one in self._jobs.items():
                if one.lane == lane:
                    self._jobs.move_to_end(name)
                    return one
        return None


@cache
def evaluator() -> Evaluator:
    """This process's evaluator."""
    return Evaluator()
