"""The evaluator: newest wins, interactive first, a failure is a line, others live on."""

import sys
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from reparam_core.errors import ReparamError
from reparam_core.jobs import Evaluator
from reparam_core.jobs.evaluator import LANES, Lane


def counting(to: int) -> Iterator[int]:
    yield from range(to)


def test_partial_results_arrive_and_the_last_stays() -> None:
    ticket = Evaluator().submit("a", "quality", lambda: counting(5))
    assert ticket.wait(10)
    assert (ticket.state, ticket.latest) == ("done", 4)


def test_a_newer_request_replaces_the_older() -> None:
    evaluator, gate = Evaluator(), threading.Event()

    def slow() -> Iterator[int]:
        yield 0
        gate.wait(10)
        yield 1
        yield 2

    older = evaluator.submit("a", "quality", slow)
    newer = evaluator.submit("a", "quality", lambda: counting(3))
    other = evaluator.submit("b", "quality", lambda: counting(2))
    gate.set()
    assert newer.wait(10)
    assert other.wait(10)
    assert older.state == "cancelled"
    assert (newer.latest, other.latest) == (2, 1)


def test_the_hand_on_the_slider_goes_before_background_work() -> None:
    evaluator, order = Evaluator(), list[str]()
    started, gate = threading.Event(), threading.Event()

    def background() -> Iterator[int]:
        for step in range(4):
            order.append("background")
            started.set()
            gate.wait(10)
            yield step

    def interactive() -> Iterator[int]:
        for step in range(3):
            order.append("interactive")
            yield step

    slow = evaluator.submit("a", "sweep", background, lane="background")
    assert started.wait(10)
    quick = evaluator.submit("a", "quality", interactive)
    gate.set()
    assert quick.wait(10)
    assert slow.wait(10)
    assert order == ["background", *["interactive"] * 3, *["background"] * 3]


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ReparamError("It is wrong.", "Do that."), "It is wrong. Do that."),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_a_failure_is_a_line_and_the_worker_lives_on(raised: Exception, told: str) -> None:
    evaluator = Evaluator()

    def failing() -> Iterator[int]:
        yield 1
        raise raised

    ticket = evaluator.submit("a", "quality", failing)
    assert ticket.wait(10)
    assert ticket.state == "failed"
    assert told in str(ticket.error)
    after = evaluator.submit("a", "quality", lambda: counting(2))
    assert after.wait(10)
    assert after.state == "done"


@pytest.mark.parametrize("lane", LANES)
def test_a_job_rests_while_no_one_is_there_and_goes_on_when_someone_comes_back(
    monkeypatch: pytest.MonkeyPatch, lane: Lane
) -> None:
    monkeypatch.setattr(sys.modules[Evaluator.__module__], "LOOK", 0.01)
    worker, there = Evaluator(), threading.Event()
    ticket = worker.submit("a", "sweep", lambda: counting(3), lane, there.is_set)
    assert not ticket.wait(0.2)
    assert ticket.latest is None
    assert worker.submit("b", "sweep", lambda: counting(2), "background").wait(10)  # others are not held up
    there.set()
    assert ticket.wait(10)
    assert ticket.state == "done"
    assert ticket.latest == 2


def test_a_job_that_no_one_comes_back_for_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[Evaluator.__module__], "LOOK", 0.01)
    monkeypatch.setattr(sys.modules[Evaluator.__module__], "PATIENCE", 0.05)
    ticket = Evaluator().submit("a", "sweep", lambda: counting(3), "background", lambda: False)
    assert ticket.wait(10)
    assert (ticket.state, ticket.latest) == ("cancelled", None)


def test_what_is_known_waits_for_nothing_and_takes_the_place_of_the_older_job() -> None:
    evaluator, go = Evaluator(), threading.Event()

    def busy() -> Iterator[None]:
        go.wait(10)
        yield

    evaluator.submit("b", "long", busy)
    older = evaluator.submit("a", "quality", lambda: counting(3))
    ticket = evaluator.answered("a", "quality", "known")
    assert (ticket.state, ticket.latest, ticket.wait(0)) == ("done", "known", True)
    assert older.state == "cancelled"
    go.set()


def test_what_a_panel_shows_waits_for_the_hand_and_goes_before_the_rest() -> None:
    done: list[str] = []
    started = threading.Event()

    def work(name: str) -> Iterator[None]:
        for _ in range(3):
            started.wait()
            done.append(name)
            yield

    evaluator = Evaluator()
    lanes: tuple[Lane, ...] = ("background", "panel", "interactive")
    tickets = [evaluator.submit("one", lane, partial(work, lane), lane) for lane in lanes]
    started.set()
    assert all(ticket.wait(10) for ticket in tickets)
    assert [one for one in done if one != "background"] == ["interactive"] * 3 + ["panel"] * 3
    assert done[-2:] == ["background"] * 2  # at most the step that ran when the others came was before them
