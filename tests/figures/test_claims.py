"""Bars that say what they are: theory hatched, measurement plain, the reason beside it."""

from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
import pytest

from reparam_core import apply, load
from reparam_core.figures.claims import (
    LONGEST_LABEL,
    TIMES,
    Bar,
    bar_of,
    bytes_by_kind,
    claimed_against_measured,
    confusion_matrix,
    task_bars,
)
from reparam_core.figures.theme import AXIS_COLOURS, BASE, BITS
from reparam_core.measure.changes import claims

SPEED = {"prefill": {"ratio": 0.8, "ci95": [0.75, 0.9]}, "decode": None}
BARS = [bar_of(*row, SPEED) for row in (
    ("numbers kept", 0.5, "theory", ""), ("memory of the matrices", 1.9, "counted", "unpacked"),
    ("file", 0.55, "measured", "each group keeps a scale"),
    ("time to read", 1.2, "measured", "no integer kernel yet"))]  # fmt: skip
KINDS = [{"kind": "embedding", "bytes": 3_000_000, "bytes_base": 3_000_000},
         {"kind": "mlp", "bytes": 1_000_000, "bytes_base": 6_000_000}]  # fmt: skip


def test_each_claim_is_a_bar_of_its_ratio_with_its_reason() -> None:
    figure = claimed_against_measured(BARS, "bits", "here")
    (bars,) = figure.data
    assert list(bars.y) == [one.what for one in BARS]
    assert list(bars.x) == [0.5, 1.9, 0.55, 1.25]  # the time is that of runs side by side, not of two medians
    assert list(bars.marker.pattern.shape) == ["/", ".", "", ""]
    assert "counted" in figure.layout.xaxis.title.text
    for one in BARS:
        (words,) = [told for told in figure.layout.annotations if told.y == one.what]
        assert words.x == one.end
        assert f"{one.ratio:.2f}×" in words.text
        assert one.reason in words.text


def test_a_time_is_drawn_with_its_interval() -> None:
    (bars,) = claimed_against_measured(BARS, "bits", "here").data
    assert list(bars.error_x.array) == pytest.approx([0, 0, 0, 1 / 0.75 - 1.25])
    assert list(bars.error_x.arrayminus) == pytest.approx([0, 0, 0, 1.25 - 1 / 0.9])
    assert "(1.11 to 1.33)" in BARS[-1].words


def title_of(speed: dict[str, Any] | None) -> str:
    bars = [*BARS[:3], bar_of("time to read", 1.64, "measured", "", speed and {"prefill": speed})]
    return str(claimed_against_measured(bars, "bits", "here").layout.title.text).replace("<br>", " ")


@pytest.mark.parametrize(("speed", "told"), [
    (SPEED["prefill"], "time to read 1.25×"),
    ({"ratio": 0.61, "ci95": [0.5, 1.1]}, "no significant difference in speed"),
    ({"ratio": 0.61, "ci95": None}, "speed not known yet"),
    (None, "speed not known yet"),
])  # fmt: skip
def test_the_title_claims_no_time_that_its_interval_does_not_bear_out(speed: dict[str, Any] | None, told: str) -> None:
    assert title_of(speed) == f"Theory promises 0.50× (numbers kept); file 0.55×; {told}"


def test_every_time_that_a_setting_claims_is_known_here() -> None:
    name = {"p50": 2.0}
    times = {side: {"prefill_ms": name, "decode_ms_per_token": name, "kernel": ""} for side in ("setting", "base")}
    claimed = claims(apply(load("embedded-decoder"), "base"), times)
    assert {one.what for one in claimed if one.what.startswith("time")} == set(TIMES)


@pytest.mark.parametrize("worst", [0.4, 1.0, 7.5])
def test_the_base_and_every_bar_are_in_sight(worst: float) -> None:
    figure = claimed_against_measured([*BARS, Bar("memory", worst, "measured")], "bits", "here")
    low, high = figure.layout.xaxis.range
    assert low == 0
    assert high > max(1, worst)
    assert figure.layout.shapes[0].x0 == 1


def test_a_long_reason_is_broken_not_cut() -> None:
    reason = "a very long reason " * 12
    words = claimed_against_measured(
        [BARS[0], Bar("file", 1.0, "measured", reason)], "bits", "here"
    ).layout.annotations[1]
    assert " ".join(words.text.replace("<br>", " ").split()).endswith(reason.strip())
    assert words.align == "left"


def test_a_reason_that_two_times_share_is_told_once_and_no_words_meet() -> None:
    """Also on a slide, whose rows are 44 pixels high however many lines stand beside them."""
    reason = "dense matrix product on dequantized weights (no integer kernel yet); two thin products of rank 102 and of rank 204"
    times = [bar_of(what, 1.2, "measured", reason, SPEED | {"decode": SPEED["prefill"]}) for what in TIMES]
    figure = claimed_against_measured([*BARS[:3], *times], "bits", "here")
    words = [one.text for one in figure.layout.annotations if one.y in TIMES]
    assert ["kernel" in one for one in words] == [True, False]
    lines = [one.text.count("<br>") + 1 for one in figure.layout.annotations if one.y]
    assert all(17 * (one + below) / 2 <= 44 for one, below in pairwise(lines))


def test_bytes_stand_before_and_after_by_kind() -> None:
    figure = bytes_by_kind(KINDS, "bits", "here")
    before, after = figure.data
    assert (list(before.x), list(after.x)) == ([3.0, 6.0], [3.0, 1.0])
    assert (before.name, after.name) == ("base", "setting")
    assert (before.marker.color, after.marker.color) == (BASE, BITS)
    assert list(after.y) == ["embedding", "MLP"]
    assert figure.layout.title.text == "Embedding: 75% of the file, 33% of the base's"


@pytest.mark.parametrize(("size", "told"), [(512, "0.512 kB"), (12, "12 B"), (12_500, "12.5 kB"), (371_000, "0.371 MB"),
                                            (6_490_000, "6.49 MB"), (216_000_000, "216 MB")])  # fmt: skip
def test_bytes_are_told_in_a_unit_that_can_be_read(size: int, told: str) -> None:
    after = bytes_by_kind([{"kind": "mlp", "bytes": size, "bytes_base": size}], "bits", "here").data[1]
    assert after.text[0].strip() == f"{told} setting"


@pytest.mark.parametrize("axis", ["rank", "sparsity", "bits", "combined"])
def test_the_setting_has_the_hue_of_its_axis_and_no_other(axis: str) -> None:
    """One hue per axis, everywhere."""
    others = {hue for name, hue in AXIS_COLOURS.items() if name not in (axis, "base")}
    for figure in (claimed_against_measured(BARS, axis, "here"), bytes_by_kind(KINDS, axis, "here"),
                   task_bars([task(final=True)], axis, "here")):  # fmt: skip
        drawn = figure.to_json()
        assert AXIS_COLOURS[axis] in drawn
        assert not [hue for hue in others if hue in drawn]


def task(final: bool) -> dict[str, object]:
    return {"title": "Capitals", "n": 1200, "accuracy": 0.5, "base_accuracy": 0.75, "accuracy_ci95": None, "majority": 0.3,
            "final": final}  # fmt: skip


def test_a_task_that_is_not_over_is_called_an_estimate() -> None:
    figure = task_bars([task(final=False)], "rank", "here")
    assert figure.layout.title.text == "Capitals 50.0% right (estimate from 1,200), the base 75.0%"
    told = [one.text for one in figure.layout.annotations if one.y == "Capitals"]
    assert told == ["75.0% base, estimate", "50.0% setting, estimate"]
    assert "estimate" not in task_bars([task(final=True)], "rank", "here").to_json()


@pytest.mark.parametrize("accuracy", [0.001, 0.06, 0.5, 1.0])
def test_a_task_s_numbers_stand_beside_its_bars_and_its_ticks_end_at_all_right(accuracy: float) -> None:
    told = task(final=True) | {"accuracy": accuracy, "accuracy_ci95": (0.9 * accuracy, accuracy)}
    figure = task_bars([told], "rank", "here")
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
