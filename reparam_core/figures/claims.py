"""Claimed against measured, and what the bytes are made of."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from reparam_core.figures.theme import BASE, COMBINED, RANK, styled

REASON_WIDTH = 60  # characters beside a bar
HATCHES = {"theory": "/", "counted": ".", "measured": ""}


def claimed_against_measured(rows: Sequence[tuple[str, float, str, str]], provenance: str) -> go.Figure:
    """Bars of (what, ratio to the base, theory, counted or measured, why it parts from the claim)."""
    claimed, measured = ([one for one in rows if one[2] == kind] for kind in ("theory", "measured"))
    figure = go.Figure()
    figure.add_bar(
        y=[what for what, *_ in rows], x=[ratio for _, ratio, *_ in rows], orientation="h", constraintext="none",
        marker={"color": [BASE if kind == "theory" else COMBINED for *_, kind, _ in rows],
                "pattern": {"shape": [HATCHES[kind] for *_, kind, _ in rows]}},
        text=[f" {ratio:.2f}×  " + "<br>   ".join(textwrap.wrap(reason, REASON_WIDTH)) for _, ratio, _, reason in rows], textposition="outside", cliponaxis=False,
        hovertemplate="%{y}: %{x:.3f}× the base<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=1, line={"color": BASE, "dash": "dot"})
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title="× the base (hatched: theory; dotted: counted, tensor by tensor; plain: measured)",
                        range=[0, 2.6 * max(1.0, *(ratio for _, ratio, *_ in rows))])  # fmt: skip
    least = min((ratio for _, ratio, *_ in claimed), default=1.0)
    slow = max((ratio for _, ratio, *_ in measured), default=1.0)
    title = f"Theory promises {least:.2f}×; the worst of what was measured is {slow:.2f}×"
    return styled(figure, title, provenance, height=60 + 44 * len(rows) + 90)


def bytes_by_kind(rows: Sequence[Mapping[str, Any]], provenance: str) -> go.Figure:
    """Where the bytes of the file lie, before and after, by kind of matrix."""
    figure = go.Figure()
    kinds = [one["kind"] for one in rows]
    for name, label, colour in (("bytes_base", "base", BASE), ("bytes", "setting", RANK)):
        figure.add_bar(y=kinds, x=[one[name] / 1e6 for one in rows], orientation="h", marker_color=colour, name=label,
                       text=[f" {one[name] / 1e6:.2f} MB {label}" for one in rows], textposition="outside",
                       cliponaxis=False, hovertemplate="%{y}, " + label + ": %{x:.2f} MB<extra></extra>")  # fmt: skip
    total = sum(one["bytes"] for one in rows)
    most = max(rows, key=lambda one: one["bytes"])
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title="MB in the file", range=[0, 1.35 * max(one["bytes_base"] for one in rows) / 1e6])
    title = f"{most['kind'].capitalize()} is {most['bytes'] / total:.0%} of the file's bytes"
    return styled(figure, title, provenance, height=70 + 56 * len(rows) + 90)


def confusion_matrix(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str, provenance: str) -> go.Figure:
    """How often each true label (row) was answered by each label (column)."""
    figure = go.Figure(go.Heatmap(
        z=counts, x=list(labels), y=list(labels), colorscale="Cividis", showscale=False, texttemplate="%{z}",
        textfont={"size": 16}, hovertemplate="true %{y}, answered %{x}: %{z}<extra></extra>"))  # fmt: skip
    figure.update_xaxes(title="answered", type="category")
    figure.update_yaxes(title="true", type="category", autorange="reversed")
    return styled(figure, title, provenance, height=320)


def task_bars(tasks: Sequence[Mapping[str, Any]], provenance: str) -> go.Figure:
    """Task accuracies with 95 % intervals: setting, base, and the commonest answer as a tick."""
    names = [one["title"] for one in tasks]
    figure = go.Figure()
    for field, label, colour in (("base_accuracy", "base", BASE), ("accuracy", "setting", RANK)):
        low_high = [one["accuracy_ci95"] or (one[field], one[field]) for one in tasks]
        error = {} if field != "accuracy" else {"error_x": {
            "array": [high - one[field] for one, (_, high) in zip(tasks, low_high, strict=True)],
            "arrayminus": [one[field] - low for one, (low, _) in zip(tasks, low_high, strict=True)]}}  # fmt: skip
        figure.add_bar(y=names, x=[one[field] for one in tasks], orientation="h", marker_color=colour,
                       text=[f"{one[field]:.1%} {label}{_so_far(one)}" for one in tasks], textposition="inside",
                       insidetextanchor="start", hovertemplate="%{y} " + label + ": %{x:.1%}<extra></extra>", **error)  # fmt: skip
    figure.add_scatter(y=names, x=[one["majority"] for one in tasks], mode="markers", hovertemplate=(
        "commonest answer: %{x:.1%}<extra></extra>"), marker={"symbol": "line-ns-open", "size": 34, "color": "#D55E00", "line": {"width": 3}})  # fmt: skip
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title="right answers (vertical mark: always giving the commonest answer)", range=[0, 1.05],
                        tickformat=".0%")  # fmt: skip
    first = tasks[0]
    title = f"{first['title']} {first['accuracy']:.1%} right{_so_far(first)}, the base {first['base_accuracy']:.1%}"
    return styled(figure, title, provenance, height=90 + 80 * len(tasks) + 80)


def _so_far(task: Mapping[str, Any]) -> str:
    """Not every question was asked yet."""
    return "" if task["final"] else f" (estimate from {task['n']:,})"
