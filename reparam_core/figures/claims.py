"""Claimed against measured, and what the bytes are made of."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from reparam_core.figures.theme import (
    BASE,
    BELOW,
    COMBINED,
    GROUND,
    INK,
    RANK,
    SIZE,
    SPARSITY,
    room_for,
    share_axis,
    shortened,
    styled,
)

REASON_WIDTH = 56  # characters beside a bar
LONGEST_LABEL = 18  # characters of a table's label
TURNED = 4  # labels from which on those below a matrix are turned
HATCHES = {"theory": "/", "counted": ".", "measured": ""}


def claimed_against_measured(rows: Sequence[tuple[str, float, str, str]], provenance: str) -> go.Figure:
    """Bars of (what, ratio to the base, theory, counted or measured, why it parts from the claim)."""
    claimed, measured = ([one for one in rows if one[2] == kind] for kind in ("theory", "measured"))
    figure = go.Figure()
    figure.add_bar(
        y=[what for what, *_ in rows], x=[ratio for _, ratio, *_ in rows], orientation="h",
        marker={"color": [BASE if kind == "theory" else COMBINED for *_, kind, _ in rows],
                "pattern": {"shape": [HATCHES[kind] for *_, kind, _ in rows]}},
        hovertemplate="%{y}: %{x:.3f}× the base<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=1, line={"color": BASE, "dash": "dot"})
    for what, ratio, _, reason in rows:
        _beside(figure, what, ratio, f"<b>{ratio:.2f}×</b>  " + "<br>".join(textwrap.wrap(reason, REASON_WIDTH)))
    figure.update_yaxes(autorange="reversed")
    most = max(1.0, *(ratio for _, ratio, *_ in rows))
    figure.update_xaxes(title="× the base (hatched: theory; dotted: counted, tensor by tensor; plain: measured)",
                        range=[0, 2.8 * most], **_ticks_up_to(most))  # fmt: skip
    least = min((ratio for _, ratio, *_ in claimed), default=1.0)
    slow = max((ratio for _, ratio, *_ in measured), default=1.0)
    title = f"Theory promises {least:.2f}×; the worst of what was measured is {slow:.2f}×"
    left = room_for(what for what, *_ in rows)
    return styled(figure, title, provenance, height=60 + 44 * len(rows) + 90, wide=True, left=left)


def _beside(figure: go.Figure, y: str, x: float, text: str, shift: int = 0) -> None:
    """Words at the end of a bar; lines that they cross give way."""
    figure.add_annotation(x=x, y=y, text=text, showarrow=False, xanchor="left", xshift=6, yshift=shift, align="left", bgcolor=GROUND,
                          borderpad=0, font={"size": SIZE, "color": INK})  # fmt: skip


def _ticks_up_to(most: float) -> dict[str, Any]:
    """No ticks where there is only room for words."""
    step = next((one for one in (0.25, 0.5, 1, 2, 5, 10, 50) if most / one <= 5), 100.0)
    return {"tickvals": [step * index for index in range(int(most / step) + 2)], "showgrid": True}


def bytes_by_kind(rows: Sequence[Mapping[str, Any]], provenance: str) -> go.Figure:
    """Where the bytes of the file lie, before and after, by kind of matrix."""
    figure = go.Figure()
    kinds = [one["kind"] for one in rows]
    for name, label, colour in (("bytes_base", "base", BASE), ("bytes", "setting", RANK)):
        figure.add_bar(y=kinds, x=[one[name] / 1e6 for one in rows], orientation="h", marker_color=colour, name=label,
                       text=[f" {_megabytes(one[name])} {label}" for one in rows], textposition="outside",
                       cliponaxis=False, hovertemplate="%{y}, " + label + ": %{x:.2f} MB<extra></extra>")  # fmt: skip
    total = sum(one["bytes"] for one in rows)
    most = max(rows, key=lambda one: one["bytes"])
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="MB in the file", range=[0, 1.6 * max(max(one["bytes_base"], one["bytes"]) for one in rows) / 1e6],
                        nticks=5)  # fmt: skip
    title = f"{most['kind'].capitalize()} is {most['bytes'] / total:.0%} of the file's bytes"
    return styled(figure, title, provenance, height=70 + 56 * len(rows) + 90, left=room_for(kinds))


def _megabytes(size: float) -> str:
    """Three digits."""
    return f"{size / 1e6:,.0f} MB" if size >= 1e8 else f"{size / 1e6:.3g} MB"


def confusion_matrix(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str, provenance: str) -> go.Figure:
    """How often each true label (row) was answered by each label (column)."""
    names = [f"{place}: {label}" for place, label in enumerate(labels)]  # two labels may look alike once they are cut
    shown, many = [shortened(one, LONGEST_LABEL) for one in labels], len(labels) > TURNED
    figure = go.Figure(go.Heatmap(
        z=counts, x=names, y=names, colorscale="Cividis", zmin=0, showscale=False, texttemplate="%{z}", xgap=1, ygap=1,
        textfont={"size": 12 if many else 16}, customdata=[[[true, answered] for answered in labels] for true in labels],
        hovertemplate="true %{customdata[0]}, answered %{customdata[1]}: %{z}<extra></extra>"))  # fmt: skip
    ticks = {"type": "category", "tickvals": names, "ticktext": shown}
    figure.update_xaxes(title="answered", tickangle=-45 if many else 0, **ticks)
    figure.update_yaxes(title="true", autorange="reversed", **ticks)
    room = room_for(shown)
    below = BELOW + round(0.7 * room) if many else BELOW
    return styled(
        figure, title, provenance, height=max(320, 100 + below + 24 * len(labels)), left=26 + room, below=below
    )


def task_bars(tasks: Sequence[Mapping[str, Any]], provenance: str) -> go.Figure:
    """Task accuracies with 95 % intervals: setting, base, and the commonest answer as a tick."""
    names = [one["title"] for one in tasks]
    figure = go.Figure()
    for field, label, colour in (("base_accuracy", "base", BASE), ("accuracy", "setting", RANK)):
        low_high = [one["accuracy_ci95"] or (one[field], one[field]) for one in tasks]
        error = {} if field != "accuracy" else {"error_x": {
            "array": [high - one[field] for one, (_, high) in zip(tasks, low_high, strict=True)],
            "arrayminus": [one[field] - low for one, (low, _) in zip(tasks, low_high, strict=True)], "color": INK}}  # fmt: skip
        figure.add_bar(y=names, x=[one[field] for one in tasks], orientation="h", marker_color=colour,
                       hovertemplate="%{y} " + label + ": %{x:.1%}<extra></extra>", **error)  # fmt: skip
        for one, (_, high) in zip(tasks, low_high, strict=True):
            end = max(one[field], one["majority"], high if error else 0.0)
            _beside(
                figure,
                one["title"],
                end,
                f"{one[field]:.1%} {label}{'' if one['final'] else ', estimate'}",
                -16 if error else 16,
            )
    figure.add_scatter(y=names, x=[one["majority"] for one in tasks], mode="markers", hovertemplate=(
        "commonest answer: %{x:.1%}<extra></extra>"), marker={"symbol": "line-ns-open", "size": 48, "color": SPARSITY, "line": {"width": 3}})  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    most = max(
        max(one["accuracy"], one["base_accuracy"], one["majority"], *(one["accuracy_ci95"] or ())) for one in tasks
    )
    figure.update_xaxes(title="right answers (upright mark: the commonest answer)", range=[0, 1.9 * most],
                        tickformat=".0%", tickvals=_shares_up_to(most))  # fmt: skip
    first = tasks[0]
    title = f"{first['title']} {first['accuracy']:.1%} right{_so_far(first)}, the base {first['base_accuracy']:.1%}"
    return styled(figure, title, provenance, height=90 + 80 * len(tasks) + 80, left=room_for(names))


def _shares_up_to(most: float) -> list[float]:
    """Round shares from 0 to the first above what there is, 100 % at most."""
    axis = share_axis([0.0, most])
    return [axis["dtick"] * index for index in range(round(axis["range"][1] / axis["dtick"]) + 1)]


def _so_far(task: Mapping[str, Any]) -> str:
    """Not every question was asked yet."""
    return "" if task["final"] else f" (estimate from {task['n']:,})"
