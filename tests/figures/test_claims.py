"""Bars that say what they are: theory hatched, measurement plain, the reason beside it."""

import plotly.graph_objects as go
import pytest

from reparam_core.figures.claims import (
    LONGEST_LABEL,
    bytes_by_kind,
    claimed_against_measured,
    confusion_matrix,
    task_bars,
)

ROWS = [("numbers kept", 0.5, "theory", ""), ("memory of the matrices", 1.9, "counted", "unpacked"),
        ("file", 0.55, "measured", "each group keeps a scale"),
        ("time to read", 1.2, "measured", "no integer kernel yet")]  # fmt: skip
KINDS = [{"kind": "embedding", "bytes": 3_000_000, "bytes_base": 3_000_000},
         {"kind": "mlp", "bytes": 1_000_000, "bytes_base": 6_000_000}]  # fmt: skip


def test_each_claim_is_a_bar_of_its_ratio_with_its_reason() -> None:
    figure = claimed_against_measured(ROWS, "here")
    (bars,) = figure.data
    assert list(bars.y) == [what for what, *_ in ROWS]
    assert list(bars.x) == [ratio for _, ratio, *_ in ROWS]
    assert list(bars.marker.pattern.shape) == ["/", ".", "", ""]
    assert "counted" in figure.layout.xaxis.title.text
    for what, ratio, _, reason in ROWS:
        (words,) = [one for one in figure.layout.annotations if one.y == what]
        assert words.x == ratio
        assert f"{ratio:.2f}×" in words.text
        assert reason in words.text


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
    words = claimed_against_measured([("file", 1.0, "measured", reason)], "here").layout.annotations[0]
    assert " ".join(words.text.replace("<br>", " ").split()).endswith(reason.strip())
    assert words.align == "left"


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
    told = [one.text for one in figure.layout.annotations if one.y == "Capitals"]
    assert told == ["75.0% base, estimate", "50.0% setting, estimate"]
    assert "estimate" not in task_bars([task(final=True)], "here").to_json()


@pytest.mark.parametrize("accuracy", [0.001, 0.06, 0.5, 1.0])
def test_a_task_s_numbers_stand_beside_its_bars_and_its_ticks_end_at_all_right(accuracy: float) -> None:
    figure = task_bars([task(final=True) | {"accuracy": accuracy, "accuracy_ci95": (0.9 * accuracy, accuracy)}], "here")
    _, setting = [one for one in figure.layout.annotations if one.y == "Capitals"]
    assert setting.x == max(accuracy, 0.3)  # beyond the bar and beyond the mark of the commonest answer
    ticks = figure.layout.xaxis.tickvals
    assert ticks[0] == 0
    assert max(accuracy, 0.75) <= ticks[-1] + 1e-9 <= 1 + 1e-8
    assert figure.layout.xaxis.range[1] > max(accuracy, 0.75)


def confusion(labels: list[str]) -> go.Figure:
    return confusion_matrix([[1] * len(labels)] * len(labels), labels, "A table", "here")


def test_a_matrix_of_many_labels_has_room_for_them_and_its_footer() -> None:
    few, many = confusion(["no", "yes"]), confusion([f"a label of many words, {index}" for index in range(10)])
    assert few.layout.xaxis.tickangle == 0
    assert many.layout.xaxis.tickangle != 0
    assert max(map(len, many.layout.xaxis.ticktext)) <= LONGEST_LABEL
    assert many.layout.margin.b > few.layout.margin.b
    assert many.layout.margin.l > few.layout.margin.l
    plot = many.layout.height - many.layout.margin.t - many.layout.margin.b
    assert plot / 10 > 20  # pixels a row


def test_labels_that_look_alike_once_they_are_cut_stay_apart() -> None:
    figure = confusion(["the same long beginning, one", "the same long beginning, two"])
    assert len(set(figure.data[0].x)) == 2
    assert figure.data[0].customdata[0][1] == ["the same long beginning, one", "the same long beginning, two"]
