"""The evaluator: newest wins, interactive first, a failure is a line, others live on."""

import threading
from collections.abc import Iterator

import pytest

from reparam_core.errors import ReparamError
from reparam_core.jobs import Evaluator, Ticket


def counting(to: int) -> Iterator[int]:
    yield from range(to)


def test_partial_results_arrive_and_the_last_stays() -> None:
    ticket = Evaluator().submit("a", "quality", lambda ticket: counting(5))
    assert ticket.wait(10)
    assert (ticket.state, ticket.latest) == ("done", 4)


def test_a_newer_request_replaces_the_older() -> None:
    evaluator, gate = Evaluator(), threading.Event()

    def slow(ticket: Ticket) -> Iterator[int]:
        yield 0
        gate.wait(10)
        yield 1
        yield 2

    older = evaluator.submit("a", "quality", slow)
    newer = evaluator.submit("a", "quality", lambda ticket: counting(3))
    other = evaluator.submit("b", "quality", lambda ticket: counting(2))
    gate.set()
    assert newer.wait(10)
    assert other.wait(10)
    assert older.state == "cancelled"
    assert (newer.latest, other.latest) == (2, 1)


def test_the_hand_on_the_slider_goes_before_background_work() -> None:
    evaluator, order = Evaluator(), list[str]()
    started, gate = threading.Event(), threading.Event()

    def background(ticket: Ticket) -> Iterator[int]:
        for step in range(4):
            order.append("background")
            started.set()
            gate.wait(10)
            yield step

    def interactive(ticket: Ticket) -> Iterator[int]:
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

    def failing(ticket: Ticket) -> Iterator[int]:
        yield 1
        raise raised

    ticket = evaluator.submit("a", "quality", failing)
    assert ticket.wait(10)
    assert ticket.state == "failed"
    assert told in str(ticket.error)
    after = evaluator.submit("a", "quality", lambda ticket: counting(2))
    assert after.wait(10)
    assert after.state == "done"
