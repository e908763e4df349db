"""The big figures: accuracy, perplexity, size, latency, each against the base or the pinned setting."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import streamlit as st

from pages.components.words import gains, number, source_words, untouched
from reparam_core.jobs import Comparison, Details, Point, compared

UNITS = {"token": "Next-token accuracy", "masked token": "Masked-word accuracy", "sentence": "Accuracy",
         "answer": "Exact match", "choice": "Right choices"}  # fmt: skip
HEIGHT = 152
Colour = Literal["normal", "inverse", "off"]


def cards(points: list[Point], pinned: Point | None, details: Details | None, source_bits: int | None) -> None:
    """Four figures side by side; what the other source says stands below each."""
    accuracy, loss, size, time = st.columns(4, gap="small")
    with accuracy:
        _accuracy(points, pinned)
    with loss:
        _loss(points, pinned)
    with size:
        _size(points[0], pinned, source_bits)
    with time:
        _latency(details, untouched(points[0]))


def _card(label: str, value: str, delta: str | None, note: str, colour: Colour = "off", tip: str = "") -> None:
    arrow: Literal["off", "auto"] = "off" if colour == "off" else "auto"
    with st.container(border=True, height=HEIGHT, gap="xsmall"):
        st.metric(label, value, delta, delta_color=colour, delta_arrow=arrow, help=tip or None)
        st.caption(note)


def _accuracy(points: list[Point], pinned: Point | None) -> None:
    point = points[0]
    beside, against = _beside(point, pinned)
    difference, interval = ((beside.accuracy, beside.accuracy_interval) if beside
                            else (point.accuracy - point.base_accuracy, point.accuracy_interval))  # fmt: skip
    delta, colour = _delta(100 * difference, [100 * one for one in interval] if interval else None, " points", "normal")
    note = [f"{_state(point.final, point.seen)} · {point.answers:,} {point.unit}s"]
    note += [f"{source_words(other.source)}: {other.accuracy:.1%}" for other in points[1:]]
    tip = (f"On {source_words(point.source)}: {point.convention}; against {against}. "
           f"{point.flips:.1%} are right in the base and wrong in this setting.")  # fmt: skip
    if point.majority is not None:
        note.append(f"commonest answer: {point.majority:.1%}")
    same = untouched(point) and beside is None
    _card(UNITS[point.unit], f"{point.accuracy:.1%}", None if same else delta, " · ".join(note), colour, tip)


def _beside(point: Point, pinned: Point | None) -> tuple[Comparison | None, str]:
    """The point beside the pinned one, where both were asked the same; and what it is compared with, in words."""
    beside = compared(point, pinned) if pinned else None
    return beside, "the pinned setting" if beside else "the base"


def _loss(points: list[Point], pinned: Point | None) -> None:
    point = points[0]
    beside, against = _beside(point, pinned)
    difference = beside.nll if beside else point.delta_nll
    interval = beside.nll_interval if beside else point.nll_interval
    delta, colour = _delta(difference, interval, " nats", "inverse")
    note = [
        _state(point.final, point.seen),
        *(f"{source_words(other.source)}: {number(other.perplexity)}" for other in points[1:]),
    ]
    if point.kl_from_base is not None and not untouched(point):
        note.append(f"KL from the base {point.kl_from_base:.2g} nats")
    tip = (f"exp of the mean of {point.tokens:,} losses on {source_words(point.source)}: {point.convention}. "
           f"The difference to {against} is in nats, with its 95 % paired interval.")  # fmt: skip
    same = untouched(point) and beside is None
    _card("Perplexity", number(point.perplexity), None if same else delta, " · ".join(note), colour, tip)


def _delta(value: float, interval: Any, unit: str, colour: Colour) -> tuple[str, Colour]:
    """The difference with its interval, or in words that there is none."""
    if interval is None:
        return f"{value:+.2g}{unit}", "off"
    low, high = interval
    if low <= 0 <= high:
        return "no significant difference", "off"
    return f"{value:+.2g}{unit} ({low:+.2g} to {high:+.2g})", colour


def _state(final: bool, seen: float) -> str:
    """Estimate, measured, or stored with its date."""
    if not final:
        return "○ estimate"
    return f"◷ stored {datetime.fromtimestamp(seen):%d %b %H:%M}" if seen else "● measured"


def _size(point: Point, pinned: Point | None, source_bits: int | None) -> None:
    base = pinned.bytes if pinned else point.bytes_base
    delta = None if point.bytes == base else f"{point.bytes / base:.2f}× the {'pinned' if pinned else 'base'}"
    note = f"{point.parameters / 1e6:.2f} M numbers, {point.parameters / point.parameters_base:.2f}× the base"
    note += f" · the checkpoint had {source_bits} bits already" if source_bits else ""
    _card("File size", f"{point.bytes / 1e6:.2f} MB", delta, note, "off",
          "The safetensors file that `compress --format packed` writes, to the byte.")  # fmt: skip


def _latency(details: Details | None, same: bool) -> None:
    """The time of a written token where the model writes, of reading else; the other one below."""
    if details is None or details.latency is None:
        _card("Latency", "…", None, "timed once the machine is free")
        return
    own, base = details.latency["setting"], details.latency["base"]
    kinds = [kind for kind in ("decode_ms_per_token", "prefill_ms") if own[kind]]
    words = {"decode_ms_per_token": "a written token", "prefill_ms": f"{details.latency['tokens']} tokens read"}
    first = kinds[0]
    note = f"{_state(details.timed, details.seen)} · {words[first]}"
    note += "".join(f" · {words[kind]}: {own[kind]['p50']:.3g} ms" for kind in kinds[1:])
    tip = (f"Kernel: {own['kernel']}. Median of {details.latency['runs']} runs, p95 {own[first]['p95']:.3g} ms; base and setting in turn, "
           f"{details.latency['threads']} threads, {details.dtype}.")  # fmt: skip
    ratio = base[first]["p50"] / own[first]["p50"]
    speed = None if same else f"{ratio:.2f}× as fast as the base" if gains(ratio) else "no faster than the base"
    _card("Latency", f"{own[first]['p50']:.3g} ms", speed, note, "off", tip)
