"""What each matrix costs alone: a map over layer and kind, estimates against measurements, and one matrix's curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from reparam_core.figures.theme import (
    AXIS_COLOURS,
    BASE,
    INK,
    LEFT,
    RING,
    SIZE,
    log_axis,
    powered,
    room_for,
    spoken,
    spoken_ticks,
    styled,
    with_sign,
)

TITLE_ROOM = 22  # pixels of an axis's upright title
CELL = 32  # pixels of a row of the map
DECADES = 3.0  # that colours tell apart, at most: what costs less is no worry


def nats(value: float) -> str:
    """`+0.012`, `+0.10`, `−1.9·10⁻⁵`, `0`."""
    return with_sign(value, two_digits(abs(value))) if value else "0"


def two_digits(size: float) -> str:
    """`0.10`, `2.0·10⁻⁴`, `1,234`: two significant digits, a zero among them too, and whole numbers whole."""
    if not math.isfinite(size):
        return spoken(size)
    if 1e-3 <= size < 1e5:
        return f"{size:#.2g}" if size < 9.95 else f"{size:,.0f}"
    lead, _, power = f"{size:.1e}".partition("e")
    return f"{lead}·{powered(float(f'1e{power}'), 0)}"


def added_loss(unit: str) -> str:
    """What is drawn, by what it is counted: a token, or a sentence where that has one loss."""
    return f"added loss, nats a {unit}"


@dataclass(frozen=True)
class Cost:
    """What one cell of the map, or one point of a chart, costs."""

    name: str  # role, or the setting
    loss: float  # nats a token above the base
    low: float | None = None  # 95 % interval, where it was measured
    high: float | None = None
    measured: bool = False
    share: float = math.nan  # bytes of the matrix against those that it has as it is

    def told(self) -> str:
        """`+0.012 (+0.009 to +0.015), measured`."""
        interval = f" ({nats(self.low)} to {nats(self.high)})" if self.low is not None and self.high is not None else ""
        return f"{nats(self.loss)}{interval}, {'measured' if self.measured else 'estimate'}"


def loss_map(costs: Mapping[str, Cost], roles: Sequence[Sequence[str]], kinds: Sequence[str], layers: Sequence[int],
             chosen: str, setting: str, provenance: str, unit: str = "token") -> go.Figure:  # fmt: skip
    """Role → cost, coloured by its logarithm; what was measured has a dot. Each cell carries its role for a click."""
    table = np.array([[costs[role].loss if role in costs else math.nan for role in row] for row in roles], dtype=float)
    high = max(float(np.nanmax(table, initial=0.0)), 1e-9)
    low = (
        max(float(np.nanmin(table, initial=math.inf, where=table > 0)), high / 10**DECADES)
        if (table > 0).any()
        else high / 10
    )
    low = min(low, high / 2)
    ticks = spoken_ticks(low, high, 5)
    figure = go.Figure(go.Heatmap(
        z=np.log10(np.clip(table, low, high)), x=list(layers), y=list(kinds), xgap=1, ygap=1, hoverinfo="skip",
        colorscale="Cividis", zmin=math.log10(low), zmax=math.log10(high),
        colorbar={"thickness": 12, "tickvals": [math.log10(one) for one in ticks], "ticktext": [spoken(one) for one in ticks],
                  "title": {"text": added_loss(unit), "side": "right", "font": {"size": SIZE}}}))  # fmt: skip
    cells = [(layer, kind, costs[role]) for row, kind in enumerate(kinds) for column, layer in enumerate(layers)
             if (role := roles[row][column]) in costs]  # fmt: skip
    for measured, marker in ((False, {"size": 24, "symbol": "square", "opacity": 0}),
                             (True, {"size": 7, "symbol": "circle", "color": "white", "opacity": 1,
                                     "line": {"color": "black", "width": 1}})):  # fmt: skip
        mine = [one for one in cells if one[2].measured or not measured]
        same = {"marker": {"opacity": marker["opacity"]}}
        figure.add_scatter(
            x=[one[0] for one in mine], y=[one[1] for one in mine], mode="markers", marker=marker, selected=same, unselected=same,
            customdata=[[cost.name, cost.told()] for _, _, cost in mine],
            hovertemplate="%{customdata[0]}<br>" + added_loss(unit) + " %{customdata[1]}<br><i>click to look at it</i><extra></extra>",
        )  # fmt: skip
    _ring(figure, roles, layers, chosen)
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    figure.update_xaxes(title="layer", dtick=1 if len(layers) <= 16 else 2, showgrid=False, range=[layers[0] - 0.5, layers[-1] + 0.5])  # fmt: skip
    figure.update_layout(hoverdistance=60)
    return styled(figure, _worst_told(costs, setting), provenance, height=CELL * len(kinds) + 120, wide=True, left=room_for(kinds))  # fmt: skip


def _ring(figure: go.Figure, roles: Sequence[Sequence[str]], layers: Sequence[int], chosen: str) -> None:
    for row, names in enumerate(roles):
        if chosen in names:
            x = layers[list(names).index(chosen)]
            figure.add_shape(type="rect", x0=x - 0.5, x1=x + 0.5, y0=row - 0.5, y1=row + 0.5, line={"color": RING, "width": 3})  # fmt: skip


def _worst_told(costs: Mapping[str, Cost], setting: str) -> str:
    """Which matrix costs most, and how much of all it is."""
    if not costs:
        return f"Each matrix alone at {setting}"
    worst, every = max(costs.values(), key=lambda one: one.loss), sum(max(0.0, one.loss) for one in costs.values())
    share = f", {worst.loss / every:.0%} of the sum over {len(costs)} matrices" if every > 0 else ""
    return f"Each matrix alone at {setting}: {worst.name} costs most, {worst.told()}{share}"


def estimate_against_measured(pairs: Sequence[tuple[Cost, Cost]], chosen: str, correlation: float | None, axis: str,
                              provenance: str, unit: str = "token") -> go.Figure:  # fmt: skip
    """Every measured cell: its estimate across, its measurement up, both on one log scale with the diagonal.

    What was measured as no loss at all stands on the floor.
    """
    every = [one.loss for pair in pairs for one in pair if one.loss > 0] or [1e-4, 1e-2]
    low, high = max(min(every), max(every) / 10**4) / 1.6, max(every) * 1.6
    figure = go.Figure()
    figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line={"color": BASE, "width": 1.5, "dash": "dash"})
    x, y = ([min(max(pair[side].loss, low), high) for pair in pairs] for side in (0, 1))
    bars = [(max(one.high or one.loss, low), max(one.low or one.loss, low)) for _, one in pairs]
    known = all(one.high is not None for _, one in pairs)
    error = {"type": "data", "symmetric": False, "array": [max(0.0, top - at) for (top, _), at in zip(bars, y, strict=True)],
             "arrayminus": [max(0.0, at - end) for (_, end), at in zip(bars, y, strict=True)], "width": 0, "thickness": 1}  # fmt: skip
    figure.add_scatter(
        x=x, y=y, mode="markers", error_y=error if known else None, cliponaxis=False,
        marker={"size": 8, "color": AXIS_COLOURS[axis], "symbol": ["circle" if one.loss > low else "triangle-down" for _, one in pairs],
                "line": {"width": [2.5 if one.name == chosen else 0 for _, one in pairs], "color": RING}},
        customdata=[[estimate.name, estimate.told(), found.told()] for estimate, found in pairs],
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<br>%{customdata[2]}<br><i>click to look at it</i><extra></extra>",
    )  # fmt: skip
    axes = log_axis(low, high, 5)
    figure.update_xaxes(title=f"estimate: {added_loss(unit)}", **axes)
    figure.update_yaxes(title="measured", **axes)
    told = f"{len(pairs)} cell{'' if len(pairs) == 1 else 's'} measured"
    title = (
        told
        if correlation is None
        else f"Estimates rank the cells with a correlation of {correlation:.2f} (Spearman, {told})"
    )
    return styled(figure, title, provenance, height=360, left=_room_left(axes["ticktext"]))


def _room_left(ticks: Sequence[str]) -> int:
    """Pixels for an upright axis's ticks and its title beside them."""
    return max(LEFT, room_for(ticks) + TITLE_ROOM)


def loss_curve(estimates: Sequence[Cost], measured: Sequence[Cost], name: str, current: str, axis: str,
               provenance: str, unit: str = "token") -> go.Figure:  # fmt: skip
    """One matrix over positions: the share of its bytes across, what it costs up; estimates hollow, measurements filled.

    What is no loss at all has no place on a log axis: a mark at its bottom says so, and no line leads there.
    """
    figure, colour = go.Figure(), AXIS_COLOURS[axis]
    every = [one.loss for one in (*estimates, *measured) if one.loss > 0] or [1e-4, 1e-2]
    low, high = max(min(every), max(every) / 10**5) / 2, max(every) * 2
    for costs, hollow in ((estimates, True), (measured, False)):
        _line_and_floor(figure, sorted(costs, key=lambda one: one.share), hollow, colour, low, high)
    for one in estimates:
        here = one.name == current
        figure.add_annotation(x=one.share, y=1, yref="paper", text=one.name, showarrow=False, yanchor="bottom", textangle=0,
                              font={"size": 11, "color": INK, "weight": 700 if here else 400})  # fmt: skip
        if here:
            figure.add_shape(type="line", x0=one.share, x1=one.share, y0=0, y1=1, yref="paper", line={"color": RING, "width": 2})  # fmt: skip
    figure.update_xaxes(title="bytes of the matrix, against what it has", tickformat=".2~f")
    upright = log_axis(low, high, 5)
    figure.update_yaxes(title=added_loss(unit), **upright)
    return styled(figure, f"{name}: estimates hollow, measurements filled", provenance, height=360, above=18,
                  left=_room_left(upright["ticktext"]))  # fmt: skip


def _line_and_floor(
    figure: go.Figure, costs: Sequence[Cost], hollow: bool, colour: str, low: float, high: float
) -> None:
    form = "-open" if hollow else ""
    figure.add_scatter(
        **_marks(costs, [min(one.loss, high) if one.loss > low else None for one in costs], low, high), mode="lines+markers",
        line={"color": colour, "width": 1.5 if hollow else 2.5, "dash": "dash" if hollow else "solid"},
        marker={"size": 9, "symbol": f"circle{form}", "color": colour},
    )  # fmt: skip
    if floored := [one for one in costs if one.loss <= low]:
        figure.add_scatter(
            **_marks(floored, [low] * len(floored), low, high), mode="markers+text",
            text=["" if one.loss > 0 else "≤ 0" for one in floored], textposition="middle left", textfont={"size": 11, "color": INK},
            marker={"size": 9, "symbol": f"triangle-down{form}", "color": colour},
        )  # fmt: skip


def _marks(costs: Sequence[Cost], y: Sequence[float | None], low: float, high: float) -> dict[str, Any]:
    """At these heights, or nowhere, with words and intervals; whiskers end where the axis does."""
    return {
        "x": [one.share for one in costs], "y": y, "error_y": _bars(costs, y, low, high), "cliponaxis": False,
        "customdata": [[one.name, f"{one.told()}{'' if one.loss > 0 else ', ≤ 0: no loss'}"] for one in costs],
        "hovertemplate": "%{customdata[0]}: %{customdata[1]}<extra></extra>",
    }  # fmt: skip


def _bars(costs: Sequence[Cost], y: Sequence[float | None], low: float, high: float) -> dict[str, object] | None:
    if not costs or any(one.low is None or one.high is None for one in costs):
        return None
    at = np.array([one or low for one in y])
    ends = np.array([(one.low, one.high) for one in costs]).clip(low, high)  # (points, 2)
    below, above = np.maximum(0.0, at - ends[:, 0]), np.maximum(0.0, ends[:, 1] - at)
    return {"type": "data", "symmetric": False, "array": above.tolist(), "arrayminus": below.tolist(), "width": 0}
