"""Claimed against measured, and what the bytes are made of."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from reparam_core.figures.theme import (
    AXIS_COLOURS,
    BASE,
    BELOW,
    GROUND,
    INK,
    SIZE,
    room_for,
    share_axis,
    shortened,
    styled,
)

REASON_WIDTH = 56  # characters beside a bar
LONGEST_LABEL = 18  # characters of a table's label
TURNED = 4  # labels from which on those below a matrix are turned
KIND_WORDS = {  # where the role is no word, or too long beside a bar
    "mlp": "MLP",
    "cross": "cross-attention",
    "other": "embeddings of<br>place or type",
    "norms, biases, header": "norms, biases,<br>header",
}
HATCHES = {"theory": "/", "counted": ".", "measured": ""}
TIMES = {"time to read": "prefill", "time a written token": "decode"}  # as a claim names them, and their speed
ROW, LINE = 44, 17  # pixels of a bar with its gap, and of a line of words beside it


@dataclass(frozen=True)
class Bar:
    """A ratio to the base: theory, counted or measured, and why it parts from the claim; a time has an interval."""

    what: str
    ratio: float
    kind: str
    reason: str = ""
    interval: tuple[float, float] | None = None

    @property
    def timed(self) -> bool:
        """Is it by the clock, which needs an interval to mean anything?"""
        return self.what in TIMES

    @property
    def differs(self) -> bool:
        """A size does as it stands; a time only where its interval leaves 1 out."""
        return not self.timed or (self.interval is not None and not self.interval[0] <= 1 <= self.interval[1])

    @property
    def end(self) -> float:
        """Of the bar or of its whisker."""
        return max((self.ratio, *(self.interval or ())))

    @property
    def words(self) -> str:
        """`1.22× (1.10 to 1.35)`, in words where there is no difference, and the reason."""
        interval = f" ({self.interval[0]:.2f} to {self.interval[1]:.2f})" if self.interval else ""
        known = (
            "" if self.differs else ", no significant difference" if self.interval else ", too few runs for an interval"
        )
        lines = textwrap.wrap(self.reason, REASON_WIDTH)
        told = f"<b>{self.ratio:.2f}×</b>{interval}{known}"
        return "<br>".join([f"{told}  {lines[0]}", *lines[1:]] if lines and not self.timed else [told, *lines])


def bar_of(what: str, ratio: float, kind: str, reason: str, speed: Mapping[str, Any] | None) -> Bar:
    """A claim; where it is a time, that of the runs that stood side by side, which speed = base time / own time tells."""
    known = speed[TIMES[what]] if speed and what in TIMES else None
    if known is None:
        return Bar(what, ratio, kind, reason)
    low_high = None if known["ci95"] is None else (1 / known["ci95"][1], 1 / known["ci95"][0])
    return Bar(what, 1 / known["ratio"], kind, reason, low_high)


def claimed_against_measured(bars: Sequence[Bar], axis: str, provenance: str) -> go.Figure:
    """Ratios to the base in the hue of the setting's axis; times with their 95 % intervals."""
    figure, bars = go.Figure(), _each_reason_once(bars)
    ends = [one.interval or (one.ratio, one.ratio) for one in bars]
    figure.add_bar(
        y=[one.what for one in bars], x=[one.ratio for one in bars], orientation="h",
        marker={"color": [BASE if one.kind == "theory" else AXIS_COLOURS[axis] for one in bars],
                "pattern": {"shape": [HATCHES[one.kind] for one in bars]}},
        error_x={"symmetric": False, "color": INK, "thickness": 1.5, "width": 0,
                 "array": [high - one.ratio for one, (_, high) in zip(bars, ends, strict=True)],
                 "arrayminus": [one.ratio - low for one, (low, _) in zip(bars, ends, strict=True)]},
        hovertemplate="%{y}: %{x:.3f}× the base<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=1, line={"color": BASE, "dash": "dot"})
    for one in bars:
        _beside(figure, one.what, one.end, one.words)
    figure.update_yaxes(autorange="reversed")
    most = max(1.0, *(one.end for one in bars))
    figure.update_xaxes(title="× the base (hatched: theory; dotted: counted, tensor by tensor; plain: measured)",
                        range=[0, 2.8 * most], **_ticks_up_to(most))  # fmt: skip
    lines = [one.words.count("<br>") + 1 for one in bars]
    row = max(ROW, *(LINE * (one + below) // 2 + 6 for one, below in pairwise(lines)))
    return styled(figure, _promise_and_proof(bars), provenance, height=60 + row * len(bars) + 90, wide=True,
                  left=room_for(one.what for one in bars))  # fmt: skip


def _each_reason_once(bars: Sequence[Bar]) -> list[Bar]:
    """A bar that parts from its claim for the same reason as the one above it leaves the room to that one's words."""
    above = [None, *(one.reason for one in bars)]
    return [replace(one, reason="") if one.reason == before else one for one, before in zip(bars, above, strict=False)]


def _promise_and_proof(bars: Sequence[Bar]) -> str:
    """The best promise, the sizes as measured, and of the times only what their intervals bear out."""
    best = min((one for one in bars if one.kind == "theory"), key=lambda one: one.ratio)
    measured, timed = (
        [one for one in bars if one.kind == "measured" and one.timed is clock] for clock in (False, True)
    )
    told = [f"Theory promises {best.ratio:.2f}× ({best.what})", *(f"{one.what} {one.ratio:.2f}×" for one in measured)]
    told += [f"{one.what} {one.ratio:.2f}×" for one in timed if one.differs]
    if timed and not any(one.differs for one in timed):
        told.append(
            "no significant difference in speed" if all(one.interval for one in timed) else "speed not known yet"
        )
    return "; ".join(told)


def _beside(figure: go.Figure, y: str, x: float, text: str, shift: int = 0) -> None:
    """Words at the end of a bar; lines that they cross give way."""
    figure.add_annotation(x=x, y=y, text=text, showarrow=False, xanchor="left", xshift=6, yshift=shift, align="left", bgcolor=GROUND,
                          borderpad=0, font={"size": SIZE, "color": INK})  # fmt: skip


def _ticks_up_to(most: float) -> dict[str, Any]:
    """No ticks where there is only room for words."""
    step = next((one for one in (0.25, 0.5, 1, 2, 5, 10, 50) if most / one <= 5), 100.0)
    return {"tickvals": [step * index for index in range(int(most / step) + 2)], "showgrid": True}


def bytes_by_kind(rows: Sequence[Mapping[str, Any]], axis: str, provenance: str) -> go.Figure:
    """Where the bytes of the file lie, before and after, by kind of matrix; the setting in the hue of its axis."""
    figure = go.Figure()
    kinds = [KIND_WORDS.get(one["kind"], one["kind"]) for one in rows]
    for name, label, colour in _sides("bytes_base", "bytes", axis):
        figure.add_bar(y=kinds, x=[one[name] / 1e6 for one in rows], orientation="h", marker_color=colour, name=label,
                       text=[f" {_size(one[name])} {label}" for one in rows], textposition="outside",
                       cliponaxis=False, hovertemplate="%{y}, " + label + ": %{x:.3g} MB<extra></extra>")  # fmt: skip
    total, total_base = (sum(one[name] for one in rows) for name in ("bytes", "bytes_base"))
    most = max(rows, key=lambda one: one["bytes"])
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="MB in the file", range=[0, 1.9 * max(max(one["bytes_base"], one["bytes"]) for one in rows) / 1e6],
                        nticks=4)  # fmt: skip
    name = KIND_WORDS.get(most["kind"], most["kind"]).replace("<br>", " ")
    title = f"{name[:1].upper()}{name[1:]}: {most['bytes'] / total:.0%} of the file, {most['bytes_base'] / total_base:.0%} of the base's"
    return styled(
        figure,
        title,
        provenance,
        height=70 + 56 * len(rows) + 90,
        left=room_for(line for one in kinds for line in one.split("<br>")),
    )


def _sides(base: str, setting: str, axis: str) -> list[tuple[str, str, str]]:
    """Both fields, each with its word and its hue."""
    return [(base, "base", BASE), (setting, "setting", AXIS_COLOURS[axis])]


def _size(size: float) -> str:
    """Three digits in the unit that people say."""
    for unit, one in (("MB", 1e6), ("kB", 1e3)):
        if size >= 0.1 * one:
            return f"{size / one:,.0f} {unit}" if size >= 100 * one else f"{size / one:.3g} {unit}"
    return f"{size:.0f} B"


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


def task_bars(tasks: Sequence[Mapping[str, Any]], axis: str, provenance: str) -> go.Figure:
    """Task accuracies with 95 % intervals: setting in the hue of its axis, base, and the commonest answer as a tick."""
    names = [one["title"] for one in tasks]
    figure = go.Figure()
    for field, label, colour in _sides("base_accuracy", "accuracy", axis):
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
        "commonest answer: %{x:.1%}<extra></extra>"), marker={"symbol": "line-ns-open", "size": 48, "color": INK, "line": {"width": 3}})  # fmt: skip
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
