"""Bars that say what they are: theory hatched, measurement plain, the reason beside it."""

import pytest

from reparam_core.figures.claims import bytes_by_kind, claimed_against_measured, task_bars

ROWS = [("numbers kept", 0.5, "theory", ""), ("memory of the matrices", 1.9, "counted", "unpacked"),
        ("file", 0.55, "measured", "each group keeps a scale"),
        ("time to read", 1.2, "measured", "no integer kernel yet")]  # fmt: skip
KINDS = [{"kind": "embedding", "bytes": 3_000_000, "bytes_base": 3_000_000},
         {"kind": "mlp", "bytes": 1_000_000, "bytes_base": 6_000_000}]  # fmt: skip


def test_each_claim_is_a_bar_of_its_ratio_with_its_reason() -> None:
    (bars,) = claimed_against_measured(ROWS, "here").data
    assert list(bars.y) == [what for what, *_ in ROWS]
    assert list(bars.x) == [ratio for _, ratio, *_ in ROWS]
    assert list(bars.marker.pattern.shape) == ["/", ".", "", ""]
    assert "counted" in claimed_against_measured(ROWS, "here").layout.xaxis.title.text
    for text, (_, ratio, _, reason) in zip(bars.text, ROWS, strict=True):
        assert f"{ratio:.2f}×" in text
        assert reason in text


def test_the_title_sets_the_promise_beside_the_worst_measurement() -> None:
    title = claimed_against_measured(ROWS, "here").layout.title.text
    assert title.replace("<br>", " ") == "Theory promises 0.50×; the worst of what was measured is 1.20×"


@pytest.mark.parametrize("worst", [0.4, 1.0, 7.5])
def test_the_base_and_every_bar_are_in_sight(worst: float) -> None:
    figure = claimed_against_measured([*ROWS, ("memory", worst, "measured", "")], "here")
    low, high = figure.layout.xaxis.range
    assert low == 0
    assert high > max(1, worst)
    assert figure.layout.shapes[0].x0 == 1


def test_a_long_reason_is_broken_not_cut() -> None:
    reason = "a very long reason " * 12
    (bars,) = claimed_against_measured([("file", 1.0, "measured", reason)], "here").data
    assert " ".join(bars.text[0].replace("<br>", " ").split()).endswith(reason.strip())


def test_bytes_stand_before_and_after_by_kind() -> None:
    figure = bytes_by_kind(KINDS, "here")
    before, after = figure.data
    assert (list(before.x), list(after.x)) == ([3.0, 6.0], [3.0, 1.0])
    assert (before.name, after.name) == ("base", "setting")
    assert before.marker.color != after.marker.color
    assert figure.layout.title.text == "Embedding is 75% of the file's bytes"


def task(final: bool) -> dict[str, object]:
    return {"title": "Capitals", "n": 1200, "accuracy": 0.5, "base_accuracy": 0.75, "accuracy_ci95": None, "majority": 0.3,
            "final": final}  # fmt: skip


def test_a_task_that_is_not_over_is_called_an_estimate() -> None:
    figure = task_bars([task(final=False)], "here")
    assert figure.layout.title.text == "Capitals 50.0% right (estimate from 1,200), the base 75.0%"
    assert all("estimate" in bars.text[0] for bars in figure.data[:2])
    assert "estimate" not in task_bars([task(final=True)], "here").to_json()
