"""Ticks that people say, colours that change with the page, slides that keep their provenance."""

import json
import math
import re
import textwrap

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reparam_core.figures import theme
from reparam_core.figures.claims import Bar, bytes_by_kind, claimed_against_measured
from reparam_core.figures.theme import (
    AXIS_COLOURS,
    HEADING_SIZE,
    IN_THE_DARK,
    LINE,
    SLIDE_SCALE,
    export_config,
    for_slides,
    in_the_dark,
    spoken,
    spoken_ticks,
)
from reparam_core.figures.tradeoffs import Along, Row, Scale, axis_curve, tradeoff_scatter

SCALE = Scale("perplexity", "the novel", log=True)
ROWS = [Row("{}", "base", "base", 1.0, 20.0), Row("a", "svd:0.5", "rank", 0.6, 40.0, 35.0, 45.0, 50.0),
        Row("b", "svd:0.2", "rank", 0.4, 900.0, 800.0, 1000.0, 20.0), Row("c", "rtn:4", "bits", 0.3, 22.0, final=False),
        Row("d", "magnitude:0.5", "sparsity", 0.7, 25.0), Row("e", "both", "combined", 0.2, 60.0)]  # fmt: skip


def figures() -> list[go.Figure]:
    kinds = [{"kind": "mlp", "bytes": 10, "bytes_base": 40}, {"kind": "embedding", "bytes": 30, "bytes_base": 30}]
    return [
        tradeoff_scatter(ROWS, "a", SCALE, "from here"),
        axis_curve(Along("rank", "keep", "all blocks (svd)"), [(SCALE, ROWS), (SCALE, ROWS)], 50, "from here"),
        claimed_against_measured(
            [Bar("numbers", 0.5, "theory"), Bar("memory", 0.9, "counted"), Bar("file", 0.6, "measured", "a bitmap")],
            "sparsity",
            "from here",
        ),
        bytes_by_kind(kinds, "rank", "from here"),
    ]


@given(st.floats(1, 1e8), st.floats(1.53, 1e6))
def test_a_log_axis_has_three_to_seven_ticks_within_its_range(low: float, ratio: float) -> None:
    """The narrowest range that a chart makes is 1.3 / 0.85 wide."""
    ticks = spoken_ticks(low, low * ratio)
    assert 3 <= len(ticks) <= 7
    assert ticks == sorted(set(ticks))
    assert low <= ticks[0] < ticks[-1] <= low * ratio
    assert len({spoken(one) for one in ticks}) == len(ticks)  # no two read the same


@given(st.floats(1e-3, 9.9e29))
def test_a_spoken_number_is_read_back_within_its_digits(value: float) -> None:
    digits = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
    plain = spoken(value).replace(",", "")
    if "10" in plain and (power := re.fullmatch(r"(?:([\d.]+)·)?10([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", plain)):
        read = float(power.group(1) or 1) * 10.0 ** int(power.group(2).translate(digits))
    else:
        read = float(plain)
    assert read == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1000, "1,000"),
        (0.5, "0.5"),
        (1e6, "10⁶"),
        (1.2345e5, "1.23·10⁵"),
        (996_000, "9.96·10⁵"),
        (999_900, "10⁶"),
        (46.3, "46.3"),
        (1e30, "10³⁰"),
        (2e-5, "2·10⁻⁵"),
        (math.inf, "∞"),
    ],
)
def test_numbers_are_written_as_people_say_them(value: float, told: str) -> None:
    assert spoken(value) == told


def test_a_dark_page_has_none_of_the_light_ones_hues() -> None:
    for figure in figures():
        light, dark = figure.to_json().upper(), in_the_dark(figure).to_json().upper()
        used = [one for one in IN_THE_DARK if one.upper() in light]
        assert used
        assert not [one for one in IN_THE_DARK if one.upper() in dark]
        assert all(IN_THE_DARK[one].upper() in dark for one in used)


def test_every_axis_has_a_hue_of_its_own_on_both_pages() -> None:
    for hues in (list(AXIS_COLOURS.values()), [IN_THE_DARK[one] for one in AXIS_COLOURS.values()]):
        assert len(set(hues)) == len(AXIS_COLOURS)
    assert not set(IN_THE_DARK) & set(IN_THE_DARK.values())


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_hue_stands_out_from_its_page() -> None:
    """WCAG asks 3:1 of graphics, against white and against a dark page."""
    for light, dark in IN_THE_DARK.items():
        assert 1.05 / (luminance(light) + 0.05) >= 3
        assert (luminance(dark) + 0.05) / (luminance("#0e1117") + 0.05) >= 3


def test_the_figure_itself_is_not_changed() -> None:
    for figure in figures():
        before = figure.to_json()
        in_the_dark(figure)
        for_slides(figure, "A heading")
        assert figure.to_json() == before


def test_a_slide_is_wide_white_and_says_where_it_comes_from() -> None:
    for figure in figures():
        slide = for_slides(figure, "A heading.")
        assert [SLIDE_SCALE * one for one in (slide.layout.width, slide.layout.height)] == [1280, 720]
        assert slide.layout.paper_bgcolor == "white"
        assert slide.layout.annotations[-1].text == "from here"
        assert slide.layout.title.text.replace("<br>", " ").startswith("A heading. ")
        sizes = [one.font.size for one in slide.layout.annotations if one.font.size] + [slide.layout.font.size]
        assert SLIDE_SCALE * min(sizes) >= 14 * 96 / 72  # points that the last row reads


def test_the_bar_over_a_title_has_only_what_the_mouse_cannot_do() -> None:
    gone = export_config("name")["modeBarButtonsToRemove"]
    assert {"zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"} <= set(gone)
    assert "toImage" not in gone


def test_all_slides_look_alike() -> None:
    looks = {(slide.layout.title.font.size, slide.layout.title.x, slide.layout.title.pad.l, slide.layout.title.pad.t,
              slide.layout.font.size, slide.layout.margin.t, slide.layout.annotations[-1].font.size,
              slide.layout.margin.l + slide.layout.annotations[-1].xshift) for slide in map(for_slides, figures())}  # fmt: skip
    assert len(looks) == 1


def test_a_slide_s_margins_follow_its_lines() -> None:
    figure = figures()[0]
    short, long = for_slides(figure, "A heading."), for_slides(figure, "A heading of many words. " * 12)
    more = long.layout.title.text.count("<br>") - short.layout.title.text.count("<br>")
    assert more >= 3
    assert long.layout.margin.t - short.layout.margin.t == pytest.approx(more * LINE * HEADING_SIZE, abs=1)
    plain = theme.styled(go.Figure(), "found", "from here " * 40)
    assert (
        for_slides(plain).layout.margin.b
        > for_slides(theme.styled(go.Figure(), "found", "from here")).layout.margin.b + 30
    )


def test_a_figure_over_the_whole_page_uses_its_width() -> None:
    finding, origin = "word " * 30, "source " * 30
    half, wide = (theme.styled(go.Figure(), finding, origin, wide=one) for one in (False, True))
    for told in (lambda one: one.layout.title.text, lambda one: one.layout.annotations[-1].text):
        assert told(wide).count("<br>") < told(half).count("<br>")
    assert wide.layout.margin.t < half.layout.margin.t


@given(st.text("ab ", min_size=1, max_size=300), st.integers(5, 80))
def test_lines_are_as_few_as_fit_and_lose_no_word(text: str, most: int) -> None:
    found = theme.wrapped(text, most) if text.strip() else []
    assert len(found) == len(textwrap.wrap(text, most))
    assert all(len(one) <= most for one in found)
    assert "".join(found).replace(" ", "") == text.replace(" ", "")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_an_axis_of_shares_holds_its_values_on_round_ends_within_0_and_1(values: list[float]) -> None:
    axis = theme.share_axis(values)
    low, high = axis["range"]
    assert 0 <= low <= min(values) <= max(values) <= high <= 1
    assert low / axis["dtick"] == pytest.approx(round(low / axis["dtick"]), abs=1e-6)
    assert 1 <= (high - low) / axis["dtick"] <= 7


def test_a_long_finding_and_a_long_provenance_are_broken_not_cut() -> None:
    finding, origin = "word " * 40, "source " * 40
    figure = theme.styled(go.Figure(), finding.strip(), origin.strip())
    assert figure.layout.title.text.replace("<br>", " ") == finding.strip()
    assert figure.layout.annotations[-1].text.replace("<br>", " ") == origin.strip()
    assert figure.layout.margin.t > theme.styled(go.Figure(), "short", "short").layout.margin.t


def test_figures_are_plain_data() -> None:
    for figure in figures():
        assert json.loads(figure.to_json())["layout"]["meta"]["provenance"] == "from here"
        assert "NaN" not in figure.to_json()
        assert math.isfinite(figure.layout.height)
