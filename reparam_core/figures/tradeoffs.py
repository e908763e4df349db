"""Size against quality, and quality along one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from reparam_core.figures.theme import AXIS_COLOURS, BASE, RING, spoken, spoken_ticks, styled

CEILING = 1e9  # of a log axis: above it a cliff is a cliff
ROOM_BELOW = 0.18  # of its height, for the label under a curve's best end
AXIS_TITLES = {
    "keep": "rank kept, % of full", "parameters": "rank kept, % of the numbers", "energy": "energy kept, % of Σσ²",
    "rank": "rank kept", "fraction": "numbers zeroed, %", "threshold": "zero below", "bits": "bits a number",
}  # fmt: skip
AXIS_RANGES = {"keep": [0, 104], "energy": [0, 104], "fraction": [-4, 100], "bits": [1.5, 8.5]}


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

    @property
    def better(self) -> int:
        """−1 where less is better."""
        return -1 if self.log else 1

    def told(self, value: float) -> str:
        """As people say it."""
        return spoken(value) if self.log else f"{value:.1%}"


@dataclass(frozen=True)
class Along:
    """What a curve runs along."""

    axis: str  # rank, sparsity or bits
    field: str  # of the setting: keep, parameters, fraction, bits …
    where: str  # in words, with the method: all blocks (svd)


def front_of(rows: Sequence[Row], scale: Scale) -> list[Row]:
    """The settings that no other beats in both size and quality, by rising size."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda one: (one.ratio, -scale.better * one.quality)):
        if not front or scale.better * (row.quality - front[-1].quality) > 0:
            front.append(row)
    return front


def tradeoff_scatter(rows: Sequence[Row], current: str, scale: Scale, provenance: str) -> go.Figure:
    """Every setting so far: file size × quality with 95 % intervals, the front drawn, the current one ringed.

    Estimates are hollow; neither the front nor the title counts them.
    """
    figure, front = go.Figure(), front_of([one for one in rows if one.final], scale)
    figure.add_scatter(x=[one.ratio for one in front], y=[one.quality for one in front], mode="lines",
                       line={"color": BASE, "dash": "dot", "shape": "hv"}, hoverinfo="skip")  # fmt: skip
    here = [one.recipe == current for one in rows]
    figure.add_scatter(
        x=[one.ratio for one in rows], y=[one.quality for one in rows], mode="markers", error_y=_whiskers(rows),
        customdata=[[one.recipe, one.short, _told(one, scale)] for one in rows],
        marker={"symbol": ["circle" if one.final else "circle-open" for one in rows],
                "size": [15 if one else 9 for one in here], "color": [AXIS_COLOURS[one.axis] for one in rows],
                "line": {"width": [3 if one else 0 for one in here], "color": RING}},
        hovertemplate="<b>%{customdata[1]}</b><br>%{x:.2f}× the bytes<br>" + scale.name + " %{customdata[2]}"
                      "<br><i>click to load</i><extra></extra>",
    )  # fmt: skip
    for axis in dict.fromkeys(one.axis for one in rows):
        _label(figure, axis, [one for one in rows if one.axis == axis], scale)
    most = max(1.0, *(one.ratio for one in rows))
    figure.update_xaxes(title="file size, × the base", tickformat=".2~f", range=[0, 1.15 * most])
    _quality_axis(figure, [one.quality for one in rows], scale)
    return styled(figure, _count(sum(one.final for one in rows), len(front)), provenance)


def _count(measured: int, unbeaten: int) -> str:
    """The scatter's finding."""
    if measured < 2:
        return "One setting measured so far" if measured else "A first estimate: no setting is measured to the end yet"
    return f"{measured} settings measured; {unbeaten} unbeaten on the dotted line"


def _whiskers(rows: Sequence[Row]) -> dict[str, Any]:
    """95 % intervals; nothing where there is none."""
    return {
        "type": "data", "symmetric": False, "width": 3, "thickness": 1, "color": BASE,
        "array": [0 if one.high is None else one.high - one.quality for one in rows],
        "arrayminus": [0 if one.low is None else one.quality - one.low for one in rows],
    }  # fmt: skip


def _told(row: Row, scale: Scale) -> str:
    """A setting's quality with its interval, as the hover has it."""
    interval = "" if row.low is None or row.high is None else f" ({scale.told(row.low)} to {scale.told(row.high)})"
    return f"{scale.told(row.quality)}{interval}{'' if row.final else ', estimate'}"


def _label(figure: go.Figure, axis: str, rows: Sequence[Row], scale: Scale) -> None:
    """A direct label instead of a legend, beside the smallest setting of that kind."""
    least = min(rows, key=lambda one: one.ratio)
    y = math.log10(min(least.quality, CEILING)) if scale.log else least.quality
    figure.add_annotation(x=least.ratio, y=y, text=axis, showarrow=False, xanchor="left", yanchor="bottom",
                          xshift=7, yshift=3, font={"color": AXIS_COLOURS[axis], "size": 13})  # fmt: skip


def axis_curve(
    along: Along, curves: Sequence[tuple[Scale, Sequence[Row]]], current: float | None, provenance: str
) -> go.Figure:
    """Quality along one axis, a curve a source: in domain solid, out of domain dashed; bands are 95 % intervals."""
    figure = go.Figure()
    ordered = [(scale, _in_order(rows)) for scale, rows in curves]
    for index, (scale, rows) in enumerate(ordered):
        _band(figure, rows, along.axis)
        _curve(figure, rows, along.axis, scale, "solid" if index == 0 else "dash")
    if current is not None:
        figure.add_vline(x=current, line={"color": RING, "dash": "dash"})
    figure.update_xaxes(title=AXIS_TITLES[along.field], type="linear", range=AXIS_RANGES.get(along.field))
    _quality_axis(figure, [one.quality for _, rows in ordered for one in rows], ordered[0][0])
    return styled(figure, _finding(along, *ordered[0]), provenance)


def _in_order(rows: Sequence[Row]) -> list[Row]:
    """Along the axis."""
    return sorted((one for one in rows if one.position is not None), key=lambda one: one.position or 0)


def _finding(along: Along, scale: Scale, rows: Sequence[Row]) -> str:
    """Of the first source, which it names: two texts have no common range; estimates do not count."""
    values = [one.quality for one in rows if one.final]
    if len(values) < 2:
        return f"The curve along {along.axis} of {along.where} is not filled yet"
    best, worst = (min, max) if scale.log else (max, min)
    return (f"{along.axis.capitalize()} of {along.where}: {scale.name} on {scale.source} "
            f"{scale.told(best(values))} to {scale.told(worst(values))}")  # fmt: skip


def _band(figure: go.Figure, rows: Sequence[Row], axis: str) -> None:
    whole = [one for one in rows if one.low is not None and one.high is not None]
    if len(whole) < 2:
        return
    x = [one.position for one in whole]
    figure.add_scatter(x=x + x[::-1], y=[one.high for one in whole] + [one.low for one in whole][::-1], fill="toself",
                       line={"width": 0}, opacity=0.25, fillcolor=AXIS_COLOURS[axis], hoverinfo="skip", mode="lines")  # fmt: skip


def _curve(figure: go.Figure, rows: Sequence[Row], axis: str, scale: Scale, dash: str) -> None:
    place, where = _curve_label(rows, scale)
    figure.add_scatter(
        x=[one.position for one in rows], y=[one.quality for one in rows], mode="lines+markers+text",
        line={"color": AXIS_COLOURS[axis], "dash": dash}, cliponaxis=False,
        marker={"size": 8, "symbol": ["circle" if one.final else "circle-open" for one in rows]},
        text=[scale.source if index == place else "" for index in range(len(rows))], textposition=where,
        customdata=[[one.recipe, one.short, _told(one, scale)] for one in rows],
        hovertemplate="<b>%{customdata[1]}</b><br>" + scale.name + " %{customdata[2]} on " + scale.source + "<extra></extra>",
    )  # fmt: skip


def _curve_label(rows: Sequence[Row], scale: Scale) -> tuple[int, str]:
    """At the curve's best end, on the side that the curve leaves free."""
    if not rows:
        return 0, "top center"
    best = max(range(len(rows)), key=lambda index: scale.better * rows[index].quality)
    return best, f"{'bottom' if scale.log else 'top'} {'left' if best >= len(rows) / 2 else 'right'}"


def _quality_axis(figure: go.Figure, values: Sequence[float], scale: Scale) -> None:
    """Accuracy in per cent; perplexity on a log axis that reads over a cliff of many decades."""
    if not scale.log:
        figure.update_yaxes(title=scale.name, tickformat=".0%", range=[0, 1.06])
        return
    least, high = min(values, default=1), min(max(values, default=10) * 1.7, CEILING)
    low = least / max(1.4, (high / least) ** ROOM_BELOW)
    ticks = spoken_ticks(low, high)
    figure.update_yaxes(type="log", title=f"{scale.name}, log scale", tickvals=ticks, ticktext=[spoken(one) for one in ticks],
                        range=[math.log10(low), math.log10(high)])  # fmt: skip
