"""Size against quality, and quality along one axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from reparam_core.figures.labels import Frame, Words, between, label
from reparam_core.figures.theme import (
    AXIS_COLOURS,
    BASE,
    INK,
    RING,
    RING_TEXT,
    log_axis,
    share_axis,
    shortened,
    spoken,
    styled,
)

CEILING = 1e9  # of a log axis: above it a cliff is a cliff
ROOM_BELOW = 0.18  # of its height, for the label under a curve's best end
BEHIND = 0.45  # opacity of a setting that another beats in both
APART = 0.09  # of an axis, between ticks whose words would meet
LONGEST_NAME = 28  # characters of a source beside its curve
AXIS_TITLES = {
    "keep": "rank kept, % of full", "parameters": "rank kept, % of the numbers", "energy": "energy kept, % of Σσ²",
    "rank": "rank kept", "fraction": "numbers zeroed, %", "threshold": "zero below", "bits": "bits a number",
    "units": "units removed, %",
}  # fmt: skip
AXIS_RANGES: dict[str, list[float]] = {"keep": [0, 104], "energy": [0, 104], "fraction": [-4, 100], "units": [-4, 100],
                                       "bits": [1.5, 8.5]}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A measured setting as a chart shows it."""

    recipe: str  # what a click loads
    short: str
    axis: str  # rank, sparsity, bits, combined or base
    ratio: float  # bytes against the base's
    quality: float
    low: float | None = None
    high: float | None = None
    position: float | None = None  # along its axis
    final: bool = True  # an estimate is drawn hollow


@dataclass(frozen=True)
class Scale:
    """What quality is on this chart: perplexity falls, accuracy rises."""

    name: str
    source: str
    log: bool
    chance: float | None = None  # of an accuracy: always giving the commonest answer

    @property
    def better(self) -> int:
        """−1 where less is better."""
        return -1 if self.log else 1

    def told(self, value: float) -> str:
        """As people say it."""
        return spoken(value) if self.log else f"{value:.1%}"

    def height(self, value: float) -> float:
        """Where it is drawn, as the axis counts; above the ceiling at the ceiling."""
        return math.log10(min(value, CEILING)) if self.log else value


@dataclass(frozen=True)
class Along:
    """What a curve runs along."""

    axis: str  # rank, sparsity or bits
    field: str  # of the setting: keep, parameters, fraction, bits …
    where: str  # in words, with the method: all blocks (svd)


@dataclass(frozen=True)
class Through:
    """The curve through a setting that takes steps on other axes too."""

    words: str  # what they are: with 4 bits in groups of 64
    current: float  # where the setting stands
    rows: Sequence[Row]


def front_of(rows: Sequence[Row], scale: Scale) -> list[Row]:
    """The settings that no other beats in both size and quality, by rising size."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda one: (one.ratio, -scale.better * one.quality)):
        if not front or scale.better * (row.quality - front[-1].quality) > 0:
            front.append(row)
    return front


def tradeoff_scatter(
    rows: Sequence[Row], current: str, scale: Scale, provenance: str, pinned: str | None = None
) -> go.Figure:
    """Every setting so far: file size × quality with 95 % intervals, the front drawn, the current one ringed.

    Estimates are hollow; neither the front nor the title counts them. Settings behind the front are paler and lie below it,
    so that those on it, which may be near each other, are seen. The pinned setting is in a square; what lies above
    the axis points upwards at its end.
    """
    figure, front = go.Figure(), front_of([one for one in rows if one.final], scale)
    seen = {one.recipe for one in front} | {one.recipe for one in rows if not one.final} | {current, pinned}
    rows = sorted(rows, key=lambda one: (one.recipe in seen, one.axis == "base"))  # what is drawn last lies on top
    figure.add_scatter(x=[one.ratio for one in front], y=[one.quality for one in front], mode="lines",
                       line={"color": BASE, "dash": "dot", "shape": "hv"}, hoverinfo="skip")  # fmt: skip
    figure.add_scatter(
        x=[one.ratio for one in rows], y=[_drawn(one, scale) for one in rows], mode="markers", error_y=_whiskers(rows, scale),
        customdata=[[one.recipe, one.short, _told(one, scale)] for one in rows], cliponaxis=False,
        marker={"symbol": [_symbol(one, scale) for one in rows], "size": 9, "color": [AXIS_COLOURS[one.axis] for one in rows],
                "opacity": [1.0 if one.recipe in seen or one.axis == "base" else BEHIND for one in rows],
                "line": {"width": [0 if one.final else 2 for one in rows]}},
        hovertemplate="<b>%{customdata[1]}</b><br>%{x:.2f}× the bytes<br>" + scale.name + " %{customdata[2]}"
                      "<br><i>click to load</i><extra></extra>",
    )  # fmt: skip
    names: dict[str | None, str] = (
        {pinned: "pinned", current: "this setting"} if pinned != current else {current: "this setting, pinned"}
    )
    _mark(figure, [one for one in rows if one.recipe == current], scale, "circle-open", RING)
    _mark(figure, [one for one in rows if one.recipe == pinned], scale, "square-open", INK)
    figure.update_xaxes(
        title="file size, × the base", tickformat=".2~f", range=[0, 1.15 * max(1.0, *(one.ratio for one in rows))]
    )
    _quality_axis(figure, rows, scale)
    _name_points(figure, rows, names, front, scale)
    return styled(figure, _count([one for one in rows if one.final]), provenance)


def _drawn(row: Row, scale: Scale) -> float:
    """A cliff above the axis stays in sight at its end."""
    return min(row.quality, CEILING) if scale.log else row.quality


def _symbol(row: Row, scale: Scale) -> str:
    """Hollow where it is an estimate; pointing to where it is, if that is above the axis."""
    return f"{'circle' if _drawn(row, scale) == row.quality else 'triangle-up'}{'' if row.final else '-open'}"


def _mark(figure: go.Figure, rows: Sequence[Row], scale: Scale, symbol: str, colour: str) -> None:
    """A ring or a square around a setting."""
    if rows:
        figure.add_scatter(x=[one.ratio for one in rows], y=[_drawn(one, scale) for one in rows], mode="markers", hoverinfo="skip",
                           cliponaxis=False, marker={"symbol": symbol, "size": 17, "color": colour, "line": {"width": 3}})  # fmt: skip


def _name_points(
    figure: go.Figure, rows: Sequence[Row], names: Mapping[str | None, str], front: Sequence[Row], scale: Scale
) -> None:
    """Direct labels instead of a legend: the current and the pinned setting, and one for each axis."""

    def place(row: Row) -> tuple[float, float]:
        return row.ratio, scale.height(row.quality)

    wanted, told = [], set()
    for row in {one.recipe: one for one in rows if one.recipe in names}.values():
        alone = sum(one.axis == row.axis for one in rows) == 1
        told |= {row.axis} if alone else set()
        wanted.append(Words(f"{row.axis}: {names[row.recipe]}" if alone else names[row.recipe], INK, [place(row)]))
    for axis in sorted({one.axis for one in rows} - told, key=lambda one: one != "base"):
        others = sorted((one for one in rows if one.axis == axis), key=lambda one: (one.recipe in names, one.ratio))
        wanted.append(Words(axis, AXIS_COLOURS[axis], [place(one) for one in others]))
    steps = [corner for one, after in pairwise(front)
             for corner in (place(one), (after.ratio, scale.height(one.quality)), place(after))]  # fmt: skip
    frame = Frame(figure.layout.xaxis.range, figure.layout.yaxis.range)
    chance = _commonest_answer(scale, frame)
    lines = [*between(steps), *(place for words in chance for place in words.anchors)]
    label(figure, [*wanted, *chance], [place(one) for one in rows], lines, frame)


def _count(measured: Sequence[Row]) -> str:
    """The scatter's finding. How many are on the front is not said: dots that lie on each other cannot be counted."""
    if not measured:
        return "A first estimate: no setting is measured to the end yet"
    settings = sum(one.axis != "base" for one in measured)
    if len(measured) < 2:
        return "One setting measured so far" if settings else "Only the base is measured so far"
    beside = " and the base" if settings < len(measured) else ""
    told = f"{settings} setting{'' if settings == 1 else 's'}{beside} measured"
    return f"{told}: none beats the dotted line"


def _whiskers(rows: Sequence[Row], scale: Scale) -> dict[str, Any]:
    """95 % intervals; nothing where there is none, or where the point itself is beyond the axis."""
    ends = [(one.quality if one.low is None else one.low, one.quality, one.quality if one.high is None else one.high)
            if _drawn(one, scale) == one.quality else (0.0, 0.0, 0.0) for one in rows]  # fmt: skip
    return {"type": "data", "symmetric": False, "width": 3, "thickness": 1, "color": BASE,
            "array": [high - value for _, value, high in ends], "arrayminus": [value - low for low, value, _ in ends]}  # fmt: skip


def _told(row: Row, scale: Scale) -> str:
    """A setting's quality with its interval, as the hover has it."""
    interval = "" if row.low is None or row.high is None else f" ({scale.told(row.low)} to {scale.told(row.high)})"
    return f"{scale.told(row.quality)}{interval}{'' if row.final else ', estimate'}"


def axis_curve(
    along: Along, curves: Sequence[tuple[Scale, Sequence[Row]]], current: float | None, provenance: str,
    through: Through | None = None,
) -> go.Figure:  # fmt: skip
    """Quality along one axis, a curve a source: in domain solid, out of domain dashed; bands are 95 % intervals.

    Where the setting takes steps on other axes too, `through` is the curve that it is on, on the first source.
    """
    current = through.current if through else current
    figure = go.Figure()
    ordered = [(scale, _in_order(rows)) for scale, rows in curves]
    for index, (scale, rows) in enumerate(ordered):
        _band(figure, rows, along.axis)
        _curve(figure, rows, along.axis, scale, "solid" if index == 0 else "dash")
    if current is not None:
        figure.add_vline(x=current, line={"color": RING, "dash": "dash"})
    if through:
        _band(figure, _in_order(through.rows), "combined")
        _curve(figure, _in_order(through.rows), "combined", ordered[0][0], "solid")
    every = [one for _, rows in ordered for one in rows] + (_in_order(through.rows) if through else [])
    figure.update_xaxes(title=AXIS_TITLES[along.field], type="linear", range=_reach(along.field, every, current))
    _quality_axis(figure, every, ordered[0][0])
    if max(len(rows) for rows in (*(rows for _, rows in ordered), through.rows if through else ())) < 2:
        _ticks_where_measured(figure, every, ordered[0][0])
    _name_curves(figure, along.axis, ordered, current, through)
    return styled(figure, _finding(along, *ordered[0], through), provenance)


def _reach(field: str, rows: Sequence[Row], current: float | None) -> list[float]:
    """The axis's own range, or where its points are."""
    if field in AXIS_RANGES:
        return AXIS_RANGES[field]
    places = [one.position for one in rows if one.position is not None] + ([] if current is None else [current])
    low, high = min(places, default=0.0), max(places, default=1.0)
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return [low - room, high + room]


def _ticks_where_measured(figure: go.Figure, rows: Sequence[Row], scale: Scale) -> None:
    """Without a curve the axis has no values but those that were measured, as far as they do not meet."""
    low, high = figure.layout.yaxis.range
    told: list[float] = []
    for value in sorted(one.quality for one in rows):
        if not told or scale.height(value) - scale.height(told[-1]) > APART * (high - low):
            told.append(value)
    figure.update_yaxes(tickmode="array", tickvals=told, ticktext=[scale.told(one) for one in told])


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """Along the axis."""
    return sorted((one for one in rows if one.position is not None), key=lambda one: one.position or 0)


def _finding(along: Along, scale: Scale, rows: Sequence[Row], through: Through | None) -> str:
    """Of the setting's own curve, else of the step alone, on the first source: two texts have no common range.

    Estimates do not count.
    """
    own, alone = ([one.quality for one in some if one.final] for some in (through.rows if through else (), rows))
    told = f"{along.axis.capitalize()} of {along.where}"
    if through and len(own) >= 2:
        told, values = f"{told} {through.words}", own
    else:
        told, values = f"{told} alone" if through else told, alone
    if len(values) < 2:
        return f"{told}: one setting so far, two make a curve" if values else f"{told}: not measured yet"
    best, worst = (min, max) if scale.log else (max, min)
    return f"{told}: {scale.name} on {scale.source} {scale.told(best(values))} to {scale.told(worst(values))}"


def _band(figure: go.Figure, rows: Sequence[Row], axis: str) -> None:
    whole = [one for one in rows if one.low is not None and one.high is not None]
    if len(whole) < 2:
        return
    x = [one.position for one in whole]
    figure.add_scatter(x=x + x[::-1], y=[one.high for one in whole] + [one.low for one in whole][::-1], fill="toself",
                       line={"width": 0}, opacity=0.25, fillcolor=AXIS_COLOURS[axis], hoverinfo="skip", mode="lines")  # fmt: skip


def _curve(figure: go.Figure, rows: Sequence[Row], axis: str, scale: Scale, dash: str) -> None:
    figure.add_scatter(
        x=[one.position for one in rows], y=[one.quality for one in rows], mode="lines+markers", name=scale.source,
        line={"color": AXIS_COLOURS[axis], "dash": dash}, cliponaxis=False,
        marker={"size": 8, "symbol": ["circle" if one.final else "circle-open" for one in rows]},
        customdata=[[one.recipe, one.short, _told(one, scale)] for one in rows],
        hovertemplate="<b>%{customdata[1]}</b><br>" + scale.name + " %{customdata[2]} on " + scale.source
                      + "<br><i>click to load</i><extra></extra>",
    )  # fmt: skip


def _name_curves(
    figure: go.Figure, axis: str, curves: Sequence[tuple[Scale, Sequence[Row]]], current: float | None,
    through: Through | None,
) -> None:  # fmt: skip
    """Each curve's source beside it, what else the setting takes beside its own, and what the upright line is."""
    frame = Frame(figure.layout.xaxis.range, figure.layout.yaxis.range)
    places = [[(one.position or 0.0, scale.height(one.quality)) for one in rows] for scale, rows in curves]
    wanted = [Words(shortened(scale.source, LONGEST_NAME), AXIS_COLOURS[axis], sorted(line, reverse=True))
              for (scale, _), line in zip(curves, places, strict=True)]  # fmt: skip
    if through:
        places.append([(one.position or 0.0, curves[0][0].height(one.quality)) for one in _in_order(through.rows)])
        wanted.append(Words(shortened(through.words, LONGEST_NAME), AXIS_COLOURS["combined"], places[-1]))
    lines = [place for line in places for place in between(line)]
    if current is not None:
        low, high = frame.y
        upright = [(current, low + share * (high - low)) for share in (0.9, 0.7, 0.5, 0.3, 0.1)]
        wanted.append(Words("this setting", RING_TEXT, upright))
        lines += between(upright)
    chance = _commonest_answer(curves[0][0], frame)
    lines += [place for words in chance for place in words.anchors]
    label(figure, [*wanted, *chance], [place for line in places for place in line], lines, frame)


def _commonest_answer(scale: Scale, frame: Frame) -> list[Words]:
    """The name of the line that the commonest answer draws, anywhere along it; the right end first."""
    if scale.chance is None:
        return []
    (left, right), steps = frame.x, 40
    along = [(right - index / steps * (right - left), scale.chance) for index in range(steps + 1)]
    return [Words(f"commonest answer {scale.chance:.1%}", BASE, along)]


def _quality_axis(figure: go.Figure, rows: Sequence[Row], scale: Scale) -> None:
    """Accuracy in per cent around what there is; perplexity on a log axis that reads over a cliff of many decades."""
    values = [one.quality for one in rows]
    if scale.log:
        least, high = min([*values, CEILING / 2] if values else [1.0]), min(max(values, default=10) * 1.7, CEILING)
        low = least / max(1.4, (high / least) ** ROOM_BELOW)
        figure.update_yaxes(title=f"{scale.name}, log scale", **log_axis(low, high))
        return
    ends = [one for row in rows for one in (row.low, row.high) if one is not None]
    chance = [] if scale.chance is None else [scale.chance]
    figure.update_yaxes(title=scale.name, **share_axis([*values, *ends, *chance]))
    if scale.chance is not None:
        figure.add_hline(y=scale.chance, line={"color": BASE, "dash": "longdashdot", "width": 1.5})
