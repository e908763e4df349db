"""Size against quality, and quality along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from reparam_core.figures.theme import AXIS_COLOURS, BASE, spoken, spoken_ticks, styled

Row = dict[str, Any]  # recipe, axis, ratio, perplexity, accuracy


def pareto(rows: Sequence[Row]) -> list[Row]:
    """The settings that no other beats in both size and perplexity, by rising size."""
    front: list[Row] = []
    for row in sorted(rows, key=lambda one: (one["ratio"], one["perplexity"])):
        if not front or row["perplexity"] < front[-1]["perplexity"]:
            front.append(row)
    return front


def tradeoff_scatter(rows: Sequence[Row], current: str, text: str, provenance: str) -> go.Figure:
    """Every setting measured so far: file size × perplexity, the front drawn, the current one ringed."""
    figure = go.Figure()
    front = pareto(rows)
    figure.add_scatter(x=[one["ratio"] for one in front], y=[one["perplexity"] for one in front], mode="lines",
                       line={"color": BASE, "dash": "dot", "shape": "hv"}, hoverinfo="skip")  # fmt: skip
    figure.add_scatter(
        x=[one["ratio"] for one in rows], y=[one["perplexity"] for one in rows], mode="markers",
        customdata=[[one["recipe"]] for one in rows],
        marker={"size": [16 if one["recipe"] == current else 9 for one in rows],
                "color": [AXIS_COLOURS[one["axis"]] for one in rows],
                "line": {"width": [3 if one["recipe"] == current else 0 for one in rows], "color": "#E69F00"}},
        hovertemplate="<b>%{customdata[0]}</b><br>%{x:.2f}× the bytes<br>perplexity %{y:.4g}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="file size, × the base", tickformat=".2~f")
    _log_perplexity(figure, [one["perplexity"] for one in rows], text)
    return styled(figure, f"{len(rows)} settings measured; {len(front)} of them beaten by none", provenance)


def axis_curve(axis: str, rows: Sequence[Row], current: float | None, text: str, provenance: str) -> go.Figure:
    """Perplexity along one axis: rank kept, sparsity or bits; `rows` carry `position`."""
    ordered = sorted(rows, key=lambda one: one["position"])
    x, y = [one["position"] for one in ordered], [one["perplexity"] for one in ordered]
    figure = go.Figure()
    figure.add_scatter(x=x, y=y, mode="lines+markers", line={"color": AXIS_COLOURS[axis]}, marker={"size": 8},
                       customdata=[[one["recipe"]] for one in ordered],
                       hovertemplate="<b>%{customdata[0]}</b><br>perplexity %{y:.4g}<extra></extra>")  # fmt: skip
    if current is not None:
        figure.add_vline(x=current, line={"color": "#E69F00", "dash": "dash"})
    labels = {"rank": "rank kept, fraction of full", "sparsity": "share of numbers zeroed", "bits": "bits a number"}
    figure.update_xaxes(title=labels[axis])
    _log_perplexity(figure, y, text)
    found = f"From {spoken(min(y))} to {spoken(max(y))} along {axis}" if y else f"No setting of {axis} measured yet"
    return styled(figure, found, provenance)


def _log_perplexity(figure: go.Figure, values: Sequence[float], text: str) -> None:
    """A log axis that reads over a cliff of many decades: capped at 10⁹ so that the first per cents stay visible."""
    low, high = min(values, default=1) * 0.9, min(max(values, default=10) * 1.1, 1e9)
    ticks = spoken_ticks(low, high)
    figure.update_yaxes(type="log", title=f"perplexity on {text}, log scale", tickvals=ticks,
                        ticktext=[spoken(tick) for tick in ticks])  # fmt: skip
