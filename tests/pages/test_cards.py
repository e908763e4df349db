"""The four figures: what each is compared with, and what is not known for good yet."""

import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components.baseline import Baseline
from reparam_core.jobs import Details, Point
from tests.pages.points import point

LATENCY = {"setting": {"prefill_ms": {"p50": 5.0, "p95": 6.0}, "decode_ms_per_token": None, "kernel": "thin products"},
           "base": {"prefill_ms": {"p50": 10.0, "p95": 12.0}, "decode_ms_per_token": None, "kernel": "dense"},
           "speed": {"prefill": {"ratio": 2.0, "ci95": [1.8, 2.3]}, "decode": None},
           "tokens": 257, "batch": 1, "threads": 2, "runs": 3}  # fmt: skip


PINNED = "the pinned setting (rtn:4)"


def drawn(points: list[Point], baseline: Baseline | None = None, details: Details | None = None) -> AppTest:
    """The cards alone."""

    def script() -> None:
        import streamlit as st

        from pages.components.cards import cards

        cards(*st.session_state["shown"])

    page = AppTest.from_function(script)
    page.session_state["shown"] = (points, baseline or Baseline(), details, None)
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
    assert any("257 tokens read, base 10 ms" in one.value for one in page.caption)
    assert card(page, "Latency").delta == "2× as fast as the base (1.8 to 2.3)"


@pytest.mark.parametrize(("recipe", "interval", "told"), [
    ("rtn:8", None, True), ("rtn:8", (0.02, 0.09), False), ("base", None, False)])  # fmt: skip
def test_a_short_text_of_which_no_interval_is_known_says_so(
    recipe: str, interval: tuple[float, float] | None, told: bool
) -> None:
    page = drawn([point(recipe, nll_interval=interval)])
    assert any(one.value.endswith("no interval") for one in page.caption) == told
    assert ("From so few tokens no interval can be told." in card(page, "Next-token accuracy").help) == told


@pytest.mark.parametrize(("change", "interval", "told"), [(0.05, (0.02, 0.09), True), (6e-4, (1e-4, 1.1e-3), False)])
def test_a_difference_of_two_lines_leaves_the_divergence_to_the_tip(
    change: float, interval: tuple[float, float], told: bool
) -> None:
    page = drawn([point("rtn:8", delta_nll=change, nll_interval=interval)])
    assert any("KL from the base" in one.value for one in page.caption) == told
    assert "KL from the base" in card(page, "Perplexity").help


@pytest.mark.parametrize(
    ("interval", "told"), [(None, "speed not known yet"), ([0.9, 1.4], "no significant difference in speed")]
)
def test_a_ratio_that_may_be_one_is_no_difference(interval: list[float] | None, told: str) -> None:
    latency = LATENCY | {"speed": {"prefill": {"ratio": 1.2, "ci95": interval}, "decode": None}}
    page = drawn([point("svd:0.5")], None, Details(latency=latency, timed=True))
    assert card(page, "Latency").delta == told


def test_the_base_is_not_timed_beside_itself() -> None:
    page = drawn([point("base")], None, Details(latency=LATENCY, timed=True))
    assert not card(page, "Latency").delta
    assert not any("base 10 ms" in one.value for one in page.caption)


def test_without_a_pinned_setting_all_is_against_the_base() -> None:
    page = drawn([point("svd:0.5", nll_interval=(0.3, 0.5))])
    assert "against the base" in card(page, "Next-token accuracy").help
    assert "10.0% are right in the base and wrong in this setting" in card(page, "Next-token accuracy").help
    assert card(page, "Perplexity").delta == "+0.40 nats (+0.30 to +0.50)"
    assert any("KL from the base" in one.value for one in page.caption)
    assert "KL from the base 0.2 nats, over 1 of the sequences, the first" in card(page, "Perplexity").help


@pytest.mark.parametrize(("delta", "interval", "told"), [
    (5.7e-05, (1e-05, 1e-04), "worse by less than 0.001 nats"), (-5.7e-05, (-1e-04, -1e-05), "better by less than 0.001 nats"),
    (0.0015, (0.00082, 0.0022), "+0.0015 nats (+0.0008 to +0.0022)")])  # fmt: skip
def test_a_difference_below_what_can_be_read_raises_no_alarm(
    delta: float, interval: tuple[float, float], told: str
) -> None:
    shown = card(
        drawn([point("rtn:8", 1.00012, base_perplexity=1.00006, delta_nll=delta, nll_interval=interval)]), "Perplexity"
    )
    assert (shown.value, shown.delta) == ("1.00", told)
    assert (shown.proto.color == shown.proto.MetricColor.GRAY) == ("less than" in told)


def test_what_was_stored_today_has_its_time_and_what_was_before_its_day() -> None:
    for seen, told in ((time.time(), f"{datetime.now():%H:%M}"), (1.7e9, f"{datetime.fromtimestamp(1.7e9):%d %b}")):
        notes = [one.value for one in drawn([point("rtn:8", seen=seen)]).caption]
        assert any(one.startswith(f"◷ stored {told} · ") for one in notes)


def test_figures_are_told_against_the_pinned_setting() -> None:
    known: dict[str, Any] = {"nll_blocks": [3.0] * 20, "right_blocks": [0.5] * 20}
    pinned = point("rtn:4", bytes=4, **known | {"nll_blocks": [2.0] * 20})
    page = drawn([point("svd:0.5", **known)], Baseline(PINNED, pinned.recipe, {"moby-dick": pinned}))
    assert f"against {PINNED}." in card(page, "Next-token accuracy").help
    assert f"difference to {PINNED} " in card(page, "Perplexity").help
    assert card(page, "Perplexity").delta == "+1.0 nats (+1.0 to +1.0)"
    assert card(page, "File size").delta == "1.25× the pinned"


@pytest.mark.parametrize("others", [{}, {"moby-dick": point("rtn:4", asked="something else")}])
def test_until_the_pinned_setting_is_measured_nothing_stands_in_for_it(others: dict[str, Point]) -> None:
    page = drawn([point("svd:0.5")], Baseline(PINNED, point("rtn:4").recipe, others))
    for label in ("Next-token accuracy", "Perplexity", "File size"):
        assert card(page, label).delta == "measuring the pinned setting …"


SOURCES = ("moby-dick", "addresses")


def on(recipe: str, **more: Any) -> list[Point]:
    """A setting on the novel, where it loses most, and on the addresses."""
    losses = {"moby-dick": (0.9, (0.8, 1.0)), "addresses": (0.4, (0.3, 0.5)), "reviews": (0.5, (0.4, 0.6))}
    return [point(recipe, source=source, delta_nll=losses[source][0], nll_interval=losses[source][1], **more)
            for source in more.pop("sources", SOURCES)]  # fmt: skip


def test_a_gap_that_may_be_none_is_called_so() -> None:
    both = on("wanda:0.5")
    page = drawn([replace(both[0], delta_nll=0.45, nll_interval=(0.3, 0.6)), both[1]])
    assert any("no significant transfer gap: novel − addresses" in one.value for one in page.caption)


def test_a_calibrated_setting_has_a_transfer_gap_between_two_domains() -> None:
    page = drawn(on("wanda:0.5"))
    assert any("● the addresses: 30 · transfer gap +0.5 nats: novel − addresses" in one.value for one in page.caption)
    tip = card(page, "Perplexity").help
    assert "95 % interval +0.36 to +0.64" in tip
    assert "KL from the base 0.2 nats" in tip


@pytest.mark.parametrize(("recipe", "sources"), [
    ("magnitude:0.5", SOURCES), ("wanda:0.5", ("addresses", "reviews")), ("wanda:0.5", ("addresses",)),
    ('{"rules": [{"bits": {"method": "gptq", "bits": 4}}], "calibration": {"text": "own-12ab34cd-Mine.txt"}}', SOURCES),
])  # fmt: skip
def test_there_is_no_gap_without_calibration_or_between_texts_of_one_domain(
    recipe: str, sources: tuple[str, ...]
) -> None:
    assert not any("transfer gap" in one.value for one in drawn(on(recipe, sources=sources)).caption)


def test_tips_say_what_is_scored() -> None:
    page = drawn([point("svd:0.5", unit="sentence", labelled=True, convention="one answer a row", majority=0.5)])
    for label in ("Accuracy", "Perplexity"):
        assert "one answer a row" in card(page, label).help
        assert "position" not in card(page, label).help


def test_a_card_holds_one_measure_and_another_is_named_in_its_help() -> None:
    table = point(
        "svd:0.5", source="own-0a1b2c3d-mine.csv", unit="choice", labelled=True, majority=0.5, accuracy=0.5, answers=6
    )
    page = drawn([table, point("svd:0.5", accuracy=0.127), replace(table, source="last-words", accuracy=0.25)])
    (note,) = [one.value for one in page.caption if "commonest answer" in one.value]
    assert "the novel" not in note
    assert "last words: 25.0%" in note
    assert note.endswith("no interval")
    assert "From fewer than 16 rows no interval can be told." in card(page, "Right choices").help
    assert "Next-token accuracy on the novel: 12.7%." in card(page, "Right choices").help
    assert "A token on the novel: 30" in card(page, "Perplexity").help
    assert not any("the novel" in one.value for one in page.caption)


@pytest.mark.parametrize(("answers", "final"), [(16, True), (6, False)])
def test_rows_enough_and_estimates_have_no_word_on_intervals(answers: int, final: bool) -> None:
    few = point("svd:0.5", unit="choice", labelled=True, majority=0.5, answers=answers, final=final)
    assert not any("no interval" in one.value for one in drawn([few]).caption)
