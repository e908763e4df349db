"""The front is Pareto's, what a click loads is what was clicked, an estimate looks like one."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reparam_core.figures.labels import Frame
from reparam_core.figures.theme import AXIS_COLOURS
from reparam_core.figures.tradeoffs import CEILING, Along, Row, Scale, Through, axis_curve, front_of, tradeoff_scatter

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
    (ring,) = figure.data[2:]
    assert (list(ring.x), list(ring.y)) == ([0.7], [25])  # the current one is ringed


@pytest.mark.parametrize(("current", "pinned", "told"), [
    ("svd@0.5", None, {"svd@0.5": "this setting"}),
    ("svd@0.5", "svd@0.7", {"svd@0.5": "this setting", "svd@0.7": "pinned"}),
    ("svd@0.5", "svd@0.5", {"svd@0.5": "this setting, pinned"}),
    ("svd@0.5", "base@1", {"svd@0.5": "this setting", "base@1": "base: pinned"}),
    ("elsewhere", "nowhere", {}),
])  # fmt: skip
def test_the_current_and_the_pinned_setting_are_marked_and_named(
    current: str, pinned: str | None, told: dict[str, str]
) -> None:
    rows = [row(0.5, 30), row(0.7, 25), row(0.8, 24), row(1, 20, "base", "base")]
    figure = tradeoff_scatter(rows, current, PERPLEXITY, "here", pinned)
    places = {one.recipe: (one.ratio, math.log10(one.quality)) for one in rows}
    named = {
        one.text: (one.x, one.y)
        for one in figure.layout.annotations[:-1]
        if "setting" in one.text or "pinned" in one.text
    }
    assert named == {words: places[recipe] for recipe, words in told.items()}
    marks = {(one.marker.symbol, one.x[0]) for one in figure.data[2:]}
    assert marks == {(symbol, places[recipe][0]) for symbol, recipe in (("circle-open", current), ("square-open", pinned))
                     if recipe in places}  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 9, 60])
def test_labels_lie_on_no_point_and_on_no_other_label(count: int) -> None:
    """In pixels of half a page, where there is least room."""
    draw = random.Random(count)
    axes = ["rank", "sparsity", "bits", "combined"]
    rows = [row(1, 20, "base", "base")] + [
        row(draw.uniform(0.15, 1.0), 20 + 500 * draw.random() ** 4, axes[index % 4], str(index)) for index in range(count - 1)]  # fmt: skip
    figure = tradeoff_scatter(rows, rows[-1].recipe, PERPLEXITY, "here", rows[0].recipe)
    frame = Frame(figure.layout.xaxis.range, figure.layout.yaxis.range)
    boxes = [box_of(one, frame) for one in figure.layout.annotations[:-1]]
    told = " ".join(one.text for one in figure.layout.annotations[:-1])
    assert all(word in told for word in ("this setting", "pinned", *{one.axis for one in rows}))
    for index, (left, bottom, right, top) in enumerate(boxes):
        for x, y in frame.pixels([(one.ratio, math.log10(one.quality)) for one in rows]):
            assert not (left < x < right and bottom < y < top)
        for other in boxes[:index]:
            assert right <= other[0] or other[2] <= left or top <= other[1] or other[3] <= bottom


def box_of(words: Any, frame: Frame) -> tuple[float, float, float, float]:
    """What a label covers, by a cautious width of its letters."""
    ((x, y),) = frame.pixels([(words.x, words.y)])
    x, y = (x + words.ax, y - words.ay) if words.showarrow else (x + words.xshift, y + words.yshift)
    width, height = 6.5 * len(words.text), 14
    left = x - {"left": 0.0, "center": 0.5, "right": 1.0}[words.xanchor] * width
    bottom = y - {"bottom": 0.0, "middle": 0.5, "top": 1.0}[words.yanchor] * height
    return left, bottom, left + width, bottom + height


def test_what_lies_above_the_axis_points_to_where_it_is() -> None:
    figure = tradeoff_scatter([row(1, 20), row(0.5, 1e30, low=1e29, high=1e31)], "", PERPLEXITY, "here")
    points = figure.data[1]
    assert list(points.y) == [20, CEILING]
    assert list(points.marker.symbol) == ["circle", "triangle-up"]
    assert points.customdata[1][2].startswith("10³⁰")
    assert list(points.error_y.array) == list(points.error_y.arrayminus) == [0, 0]


def test_an_estimate_is_hollow() -> None:
    figure = tradeoff_scatter([row(1, 20), row(0.5, 30, final=False)], "", PERPLEXITY, "here")
    assert list(figure.data[1].marker.symbol) == ["circle", "circle-open"]


def test_the_title_counts_what_is_shown() -> None:
    assert tradeoff_scatter([row(1, 20)], "", PERPLEXITY, "here").layout.title.text == "One setting measured so far"
    figure = tradeoff_scatter([row(1, 20), row(0.5, 30), row(0.6, 40)], "", PERPLEXITY, "here")
    told = "measured: none beats the dotted line"
    assert figure.layout.title.text.replace("<br>", " ") == f"3 settings {told}"
    figure = tradeoff_scatter([row(1, 20, "base", "base"), row(0.5, 30)], "", PERPLEXITY, "here")
    assert figure.layout.title.text.replace("<br>", " ") == f"1 setting and the base {told}"
    figure = tradeoff_scatter([row(1, 20, "base", "base")], "", PERPLEXITY, "here")
    assert figure.layout.title.text == "Only the base is measured so far"


def test_what_another_beats_is_paler_and_lies_below() -> None:
    rows = [row(1, 20, "base", "base"), row(0.5, 25), row(0.6, 40), row(0.7, 45), row(0.9, 50, final=False)]
    points = tradeoff_scatter(rows, rows[3].recipe, PERPLEXITY, "here").data[1]
    opacities = dict(zip((told[0] for told in points.customdata), points.marker.opacity, strict=True))
    assert {recipe for recipe, one in opacities.items() if one < 1} == {rows[2].recipe}
    assert next(iter(opacities)) == rows[2].recipe


def test_estimates_are_neither_counted_nor_on_the_front() -> None:
    rows = [row(1, 20), row(0.7, 25), row(0.5, 10, final=False)]
    figure = tradeoff_scatter(rows, "", PERPLEXITY, "here")
    assert figure.layout.title.text.startswith("2 settings measured: ")
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


def test_accuracy_is_drawn_where_its_points_are() -> None:
    axis = tradeoff_scatter([row(1, 0.36), row(0.5, 0.28, low=0.26, high=0.3)], "", ACCURACY, "here").layout.yaxis
    assert 0.15 < axis.range[0] < 0.26
    assert 0.36 < axis.range[1] < 0.45
    assert tradeoff_scatter([row(1, 1.0), row(0.5, 0.99)], "", ACCURACY, "here").layout.yaxis.range[1] == 1


def test_the_commonest_answer_stays_in_sight() -> None:
    figure = tradeoff_scatter([row(1, 0.9), row(0.5, 0.85)], "", replace(ACCURACY, chance=0.52), "here")
    assert figure.layout.yaxis.range[0] < 0.52
    assert any(one.y0 == 0.52 for one in figure.layout.shapes)
    assert any(one.text == "commonest answer 52.0%" for one in figure.layout.annotations)


@pytest.mark.parametrize("quality", [0.5, 0.505, 0.52])
@pytest.mark.parametrize("figure_of", [
    lambda rows, scale: tradeoff_scatter(rows, rows[0].recipe, scale, "here"),
    lambda rows, scale: axis_curve(RANK, [(scale, rows)], 75, "here")], ids=["scatter", "curve"])  # fmt: skip
def test_the_commonest_answer_s_name_lies_on_no_label_and_no_point(quality: float, figure_of: Any) -> None:
    rows = [
        row(0.5, quality, position=20.0),
        row(0.7, 0.55, position=75.0),
        row(1, quality, "base", "base", position=100.0),
    ]
    figure = figure_of(rows, replace(ACCURACY, chance=0.5))
    frame = Frame(figure.layout.xaxis.range, figure.layout.yaxis.range)
    words = [one for one in figure.layout.annotations if one.xref != "paper"]
    assert sum(one.text == "commonest answer 50.0%" for one in words) == 1
    boxes = [box_of(one, frame) for one in words]
    place = "ratio" if figure.layout.xaxis.title.text.startswith("file size") else "position"
    for index, (left, bottom, right, top) in enumerate(boxes):
        for x, y in frame.pixels([(getattr(one, place), one.quality) for one in rows]):
            assert not (left < x < right and bottom < y < top)
        for other in boxes[:index]:
            assert right <= other[0] or other[2] <= left or top <= other[1] or other[3] <= bottom


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
    assert [one.name for one in lines] == ["the novel", "the addresses"]
    assert {one.text for one in figure.layout.annotations} >= {"the novel", "the addresses"}


def test_without_a_sweep_the_chart_claims_nothing() -> None:
    figure = axis_curve(Along("bits", "bits", "all blocks (rtn)"), [(PERPLEXITY, [row(1, 20, "base")])], None, "here")
    assert "bits" in figure.layout.title.text.lower()
    assert "20" not in figure.layout.title.text


@pytest.mark.parametrize("scale", [PERPLEXITY, ACCURACY])
@pytest.mark.parametrize("count", [0, 1])
def test_an_axis_without_a_curve_has_no_values_but_those_measured(scale: Scale, count: int) -> None:
    rows = [row(0.8, 0.25, position=75.0)][:count]
    figure = axis_curve(RANK, [(scale, rows)], 20, "here")
    assert list(figure.layout.yaxis.tickvals or ()) == [0.25] * count
    told = figure.layout.title.text.replace("<br>", " ")
    assert told.endswith("one setting so far, two make a curve" if count else "not measured yet")
    assert not any("so far" in one.text for one in figure.layout.annotations)  # which would lie on a label
    assert list(figure.layout.xaxis.range) == [0, 104]


def test_a_setting_of_several_steps_is_on_a_curve_of_its_own() -> None:
    alone = [row(0.8, 30, position=75.0), row(0.5, 90, position=25.0)]
    both = [row(0.4, 45, "combined", position=80.0), row(0.3, 200, "combined", position=40.0)]
    figure = axis_curve(RANK, [(PERPLEXITY, alone)], None, "here", Through("with 4 bits in groups of 64", 80.0, both))
    own, other = figure.data
    assert (own.line.color, other.line.color) == (AXIS_COLOURS["rank"], AXIS_COLOURS["combined"])
    assert list(other.x) == [40, 80]
    assert figure.layout.shapes[0].x0 == 80
    assert "(svd) with 4 bits in groups of 64: perplexity on the novel 45 to 200" in figure.layout.title.text.replace(
        "<br>", " "
    )
    assert {one.text for one in figure.layout.annotations} >= {"with 4 bits in groups of 64", "this setting"}
    low, high = figure.layout.yaxis.range
    assert low < math.log10(30) < math.log10(200) < high


def test_ticks_of_single_settings_do_not_meet() -> None:
    both = [row(0.4, 38.1, "combined", position=80.0)]
    figure = axis_curve(
        RANK, [(PERPLEXITY, [row(0.8, 37.5, position=75.0)])], None, "here", Through("with 8 bits", 80.0, both)
    )
    assert list(figure.layout.yaxis.ticktext) == ["37.5"]


def test_a_long_source_is_cut_beside_its_curve_and_whole_in_the_hover() -> None:
    name = "a very long name of a file that somebody brought.txt"
    rows = [row(0.8, 30, position=75.0), row(0.5, 90, position=25.0)]
    figure = axis_curve(RANK, [(replace(PERPLEXITY, source=name), rows)], None, "here")
    assert any(one.text.endswith("…") and name.startswith(one.text[:-1]) for one in figure.layout.annotations)
    assert name in figure.data[0].hovertemplate


@pytest.mark.parametrize("current", [None, 64.0])
def test_an_axis_without_a_range_of_its_own_holds_its_points_and_the_setting(current: float | None) -> None:
    rows = [row(0.8, 30, position=8.0), row(0.5, 90, position=32.0)]
    low, high = axis_curve(
        Along("rank", "rank", "all blocks (svd)"), [(PERPLEXITY, rows)], current, "here"
    ).layout.xaxis.range
    assert low < 8
    assert high > (current or 32)
