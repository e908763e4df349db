"""Jobs of a page: what was measured before waits for nobody, and what no page shows any more goes last."""

import threading
from collections.abc import Iterator

from streamlit.testing.v1 import AppTest

from reparam_core.jobs import evaluator
from tests.pages.conftest import PAGES, Open, sentence, settled


def two_jobs() -> None:
    import streamlit as st

    from pages.components.live import ask, only_what_is_asked_now
    from reparam_core.jobs import Evaluator

    class Kept(Evaluator):
        """Takes jobs and does none."""

        def _work(self) -> None:
            return

    with only_what_is_asked_now():
        worker = st.session_state.setdefault("worker", Kept())
        for name in st.session_state.setdefault("names", ["one", "two"]):
            ask(name, name, lambda: iter(range(3)), worker=worker)


def test_what_no_page_asks_for_any_more_goes_on_in_the_background() -> None:
    page = AppTest.from_function(two_jobs).run()
    lanes = {name: ticket for name, (_, ticket) in page.session_state["asked"].items()}
    assert [lanes["one"].lane, lanes["two"].lane] == ["interactive", "interactive"]
    page.session_state["names"] = ["two"]
    page.run()
    assert [lanes["one"].lane, lanes["two"].lane] == ["background", "interactive"]
    page.session_state["names"] = ["one", "two"]
    page.run()
    assert [lanes["one"].lane, lanes["two"].lane] == ["interactive", "interactive"]


def test_a_setting_measured_before_waits_for_nobody(opened: Open) -> None:
    told = sentence(opened("trade_offs", bits="4"))
    began, ended = threading.Event(), threading.Event()

    def somebodys_long_step() -> Iterator[None]:
        began.set()
        ended.wait(60)
        yield

    evaluator().submit("somebody", "long", somebodys_long_step)
    assert began.wait(60)
    try:
        page = AppTest.from_file(str(PAGES / "trade_offs.py"), default_timeout=60)
        page.query_params["bits"] = "4"
        assert sentence(page.run()) == told
    finally:
        ended.set()
        settled(page)
