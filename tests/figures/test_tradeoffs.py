"""The front is Pareto's, what a click loads is what was clicked, an estimate looks like one."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reparam_core.figures.tradeoffs import CEILING, Along, Row, Scale, axis_curve, front_of, tradeoff_scatter

RANK = Along("rank", "keep", "all blocks (svd)")
PERPLEXITY, ACCURACY = Scale("perplexity", "the novel", log=True), Scale("accuracy", "reviews", log=False)


def row(ratio: float, quality: float, axis: str = "rank", name: str = "svd", **more: Any) -> Row:
    return Row(f"{name}@{ratio}", name, axis, ratio, quality, **more)


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=14),
    st.sampled_from([PERPLEXITY, ACCURACY]),
)
def test_the_front_is_what_no_other_beats(pairs: list[tuple[int, int]], scale: Scale) -> None:
    rows = [row(ratio / 8, quality / 8) for ratio, quality in pairs]

    def beats(one: Row, other: Row) -> bool:
        gain = scale.better * (one.quality - other.quality)
        return one.ratio <= other.ratio and gain >= 0 and (one.ratio < other.ratio or gain > 0)

    expected = {(one.ratio, one.quality) for one in rows if not any(beats(other, one) for other in rows)}
    front = front_of(rows, scale)
    assert {(one.ratio, one.quality) for one in front} == expected
    assert [one.ratio for one in front] == sorted({one.ratio for one in front})


def test_a_click_loads_the_recipe_under_it() -> None:
    rows = [row(0.5, 30), row(0.7, 25, "bits", "rtn"), row(1, 20, "base", "base")]
    figure = tradeoff_scatter(rows, rows[1].recipe, PERPLEXITY, "here")
    points = figure.data[1]
    for index, one in enumerate(rows):
        assert (points.x[index], points.y[index], points.customdata[index][0]) == (one.ratio, one.quality, one.recipe)
    assert [width > 0 for width in points.marker.line.width] == [False, True, False]  # the current one is ringed


def test_an_estimate_is_hollow() -> None:
    figure = tradeoff_scatter([row(1, 20), row(0.5, 30, final=False)], "", PERPLEXITY, "here")
    assert list(figure.data[1].marker.symbol) == ["circle", "circle-open"]


def test_the_title_counts_what_is_shown() -> None:
    assert tradeoff_scatter([row(1, 20)], "", PERPLEXITY, "here").layout.title.text == "One setting measured so far"
    figure = tradeoff_scatter([row(1, 20), row(0.5, 30), row(0.6, 40)], "", PERPLEXITY, "here")
    assert figure.layout.title.text.startswith("3 settings measured; 2 unbeaten")


def test_estimates_are_neither_counted_nor_on_the_front() -> None:
    rows = [row(1, 20), row(0.7, 25), row(0.5, 10, final=False)]
    figure = tradeoff_scatter(rows, "", PERPLEXITY, "here")
    assert figure.layout.title.text.startswith("2 settings measured; 2 unbeaten")
    assert set(figure.data[0].y) == {20, 25}
    assert "estimate" in tradeoff_scatter(rows[2:], "", PERPLEXITY, "here").layout.title.text


def test_intervals_are_whiskers_and_in_the_hover() -> None:
    figure = tradeoff_scatter([row(1, 20), row(0.5, 30, low=28.0, high=33.0)], "", PERPLEXITY, "here")
    points = figure.data[1]
    assert list(points.error_y.array) == [0, 3]
    assert list(points.error_y.arrayminus) == [0, 2]
    assert [told for *_, told in points.customdata] == ["20", "30 (28 to 33)"]


@pytest.mark.parametrize("worst", [30.0, 1e5, 1e12])
def test_a_cliff_leaves_the_rest_readable(worst: float) -> None:
    rows = [row(1, 20), row(0.5, worst)]
    axis = tradeoff_scatter(rows, "", PERPLEXITY, "here").layout.yaxis
    low, high = axis.range
    assert axis.type == "log"
    assert low < math.log10(20) < high <= math.log10(CEILING)
    assert all(low <= math.log10(tick) <= high for tick in axis.tickvals)
    assert 3 <= len(axis.tickvals) <= 7


def test_accuracy_has_its_whole_range() -> None:
    axis = tradeoff_scatter([row(1, 0.9), row(0.5, 0.5)], "", ACCURACY, "here").layout.yaxis
    assert axis.range[0] == 0
    assert axis.range[1] >= 1


def test_a_curve_runs_along_its_axis_with_its_band() -> None:
    rows = [row(0.8, 30, position=75.0, low=28.0, high=33.0), row(0.5, 90, position=25.0, low=80.0, high=99.0),
            row(1.0, 20, "base", "base")]  # fmt: skip
    figure = axis_curve(RANK, [(PERPLEXITY, rows)], 75, "here")
    band, line = figure.data
    assert list(line.x) == [25, 75]
    assert list(line.y) == [90, 30]
    assert set(zip(band.x, band.y, strict=True)) == {(25, 80), (25, 99), (75, 28), (75, 33)}
    assert figure.layout.title.text == "Rank of all blocks (svd): perplexity on the novel 30 to 90"
    assert figure.layout.shapes[0].x0 == 75


def test_an_estimate_on_a_curve_is_hollow_and_no_finding() -> None:
    rows = [row(0.8, 30, position=75.0), row(0.5, 90, position=25.0), row(0.4, 500, position=20.0, final=False)]
    figure = axis_curve(RANK, [(PERPLEXITY, rows)], None, "here")
    assert list(figure.data[0].marker.symbol) == ["circle-open", "circle", "circle"]
    assert figure.layout.title.text.endswith("30 to 90")


def test_the_second_text_is_dashed_and_named() -> None:
    rows = [row(0.8, 30, position=75.0), row(0.5, 90, position=25.0)]
    other, worse = (
        Scale("perplexity", "the addresses", log=True),
        [replace(one, quality=5 * one.quality) for one in rows],
    )
    figure = axis_curve(RANK, [(PERPLEXITY, rows), (other, worse)], None, "here")
    assert "on the novel 30 to 90" in figure.layout.title.text  # of one text, not of both together
    lines = [one for one in figure.data if one.line.dash]
    assert [one.line.dash for one in lines] == ["solid", "dash"]
    assert ["the novel" in one.text for one in lines] == [True, False]
    assert "the addresses" in lines[1].text


def test_without_a_sweep_the_chart_claims_nothing() -> None:
    figure = axis_curve(Along("bits", "bits", "all blocks (rtn)"), [(PERPLEXITY, [row(1, 20, "base")])], None, "here")
    assert "bits" in figure.layout.title.text
    assert "20" not in figure.layout.title.text
