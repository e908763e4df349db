"""What is still being computed: asked once, shown as it comes, polled only while it is pending."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.components.errors import show_error
from reparam_core.jobs import Evaluator, Ticket, evaluator, explored, explored_before
from reparam_core.jobs.evaluator import Lane
from reparam_core.models import Model

POLL = 0.3  # seconds
PATIENCE = 0.8  # seconds that a page waits for a first answer before it draws the rest


def ask(name: str, wanted: Any, make: Callable[[], Iterator[Any]], lane: Lane = "interactive",
        worker: Evaluator | None = None, known: Callable[[], Any] = lambda: None) -> Ticket:  # fmt: skip
    """The job of that name: submitted again only where something else is wanted than last time.

    What is `known` already needs no job.
    """
    asked: dict[str, tuple[Any, Ticket]] = st.session_state.setdefault("asked", {})
    if name not in asked or asked[name][0] != wanted:
        session, worker, answer = (
            st.session_state.setdefault("session", uuid.uuid4().hex),
            worker or evaluator(),
            known(),
        )
        if answer is None:
            asked[name] = (wanted, worker.submit(session, name, make, lane, _watched()))
        else:
            asked[name] = (wanted, worker.answered(session, name, answer))
    asked[name][1].lane = lane
    st.session_state.setdefault("asked_now", set()).add(name)
    return asked[name][1]


def ask_score(name: str, model: Model, recipe: str, sources: Sequence[str], lane: Lane = "interactive") -> Ticket:
    """The model's score with that recipe on these sources; at once where it was measured before."""
    return ask(name, (model.name, recipe, tuple(sources)), lambda: explored(model, recipe, sources), lane,
               known=lambda: explored_before(model, recipe, sources))  # fmt: skip


@contextmanager
def only_what_is_asked_now() -> Iterator[None]:
    """What this run of a page does not ask for goes on in the background: no one looks at it."""
    now: set[str] = set()
    st.session_state["asked_now"] = now
    yield
    for name, (_, ticket) in st.session_state.get("asked", {}).items():
        if name not in now:
            ticket.lane = "background"


def _watched() -> Callable[[], bool]:
    """Is this session's browser still connected? A closed tab ends its sweeps."""
    context = get_script_run_ctx()
    if context is None or not runtime.exists():
        return lambda: True
    here, session = runtime.get_instance(), context.session_id
    return lambda: here.is_active_session(session)


def failed(name: str, ticket: Ticket) -> bool:
    """Say in place that the job of that name failed, and offer to ask again."""
    if ticket.error is None:
        return False
    show_error(ticket.error)
    if not ticket.error.topic:  # else it lies with another control
        st.button("Try again", key=f"again-{name}", on_click=st.session_state.get("asked", {}).pop, args=(name, None))
    return True


def awaited(ticket: Ticket, enough: Callable[[Any], bool], patience: float = PATIENCE) -> None:
    """Until enough is known or patience ends: an answer on its way need not wait for the page's other parts."""
    deadline = time.monotonic() + patience
    while ticket.pending and not (ticket.latest and enough(ticket.latest)) and time.monotonic() < deadline:
        ticket.wait(0.01)


def live(draw: Callable[[], None], *tickets: Ticket | None, every: float = POLL) -> None:
    """Draw, and again while a ticket is pending; the last time with the whole page, which then rests.

    `every` is in seconds: what is dear to draw is drawn less often.
    """
    waiting = [one for one in tickets if one is not None and one.pending]

    def drawn() -> None:
        draw()
        if waiting and not any(one.pending for one in waiting):
            st.rerun()

    st.fragment(drawn, run_every=every if waiting else None)()
