"""The four figures: what each is compared with, and what is not known for good yet."""

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from reparam_core.jobs import Details, Point
from tests.pages.points import point

LATENCY = {"setting": {"prefill_ms": {"p50": 5.0, "p95": 6.0}, "decode_ms_per_token": None, "kernel": "thin products"},
           "base": {"prefill_ms": {"p50": 10.0, "p95": 12.0}, "decode_ms_per_token": None, "kernel": "dense"},
           "tokens": 257, "batch": 1, "threads": 2, "runs": 3}  # fmt: skip


def drawn(points: list[Point], pinned: Point | None = None, details: Details | None = None) -> AppTest:
    """The cards alone."""

    def script() -> None:
        import streamlit as st

        from pages.components.cards import cards

        cards(*st.session_state["shown"])

    page = AppTest.from_function(script)
    page.session_state["shown"] = (points, pinned, details, None)
    assert not page.run().exception
    return page


def card(page: AppTest, label: str) -> Any:
    return next(one for one in page.metric if one.label == label)


@pytest.mark.parametrize(("details", "told"), [
    (Details(latency=LATENCY), "○ estimate"), (Details(latency=LATENCY, timed=True), "● measured"),
    (Details(latency=LATENCY, timed=True, seen=1.7e9), "◷ stored ")])  # fmt: skip
def test_latency_says_whether_its_runs_are_over(details: Details, told: str) -> None:
    page = drawn([point("svd:0.5")], None, details)
    assert any(one.value.startswith(told) and "257 tokens read" in one.value for one in page.caption)
    assert "p95 6 ms" in card(page, "Latency").help
    assert card(page, "Latency").delta == "2.00× as fast as the base"


def test_without_a_pinned_setting_all_is_against_the_base() -> None:
    page = drawn([point("svd:0.5", nll_interval=(0.3, 0.5))])
    assert "against the base" in card(page, "Next-token accuracy").help
    assert "10.0% are right in the base and wrong in this setting" in card(page, "Next-token accuracy").help
    assert card(page, "Perplexity").delta == "+0.4 nats (+0.3 to +0.5)"
    assert any("KL from the base" in one.value for one in page.caption)


@pytest.mark.parametrize(("asked", "against"), [("a", "the pinned setting"), ("something else", "the base")])
def test_tips_name_what_the_figures_are_compared_with(asked: str, against: str) -> None:
    known: dict[str, Any] = {"nll_blocks": [3.0] * 20, "right_blocks": [0.5] * 20}
    page = drawn([point("svd:0.5", **known)], point("rtn:4", asked=asked, **known | {"nll_blocks": [2.0] * 20}))
    assert f"against {against}." in card(page, "Next-token accuracy").help
    assert f"difference to {against} " in card(page, "Perplexity").help
    assert card(page, "Perplexity").delta == ("+1 nats (+1 to +1)" if asked == "a" else "+0.4 nats")


def test_tips_say_what_is_scored() -> None:
    page = drawn([point("svd:0.5", unit="sentence", labelled=True, convention="one answer a row", majority=0.5)])
    for label in ("Accuracy", "Perplexity"):
        assert "one answer a row" in card(page, label).help
        assert "position" not in card(page, label).help
