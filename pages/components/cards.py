"""The big figures: accuracy, perplexity, size, latency, each against the base or the pinned setting."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import streamlit as st

from pages.components.baseline import Baseline
from pages.components.calibration import in_domain
from pages.components.words import (
    MEASURES,
    alike,
    count,
    faster_words,
    number,
    read_words,
    signed,
    source_words,
    untouched,
)
from reparam_core.data import LEAST_ROWS
from reparam_core.jobs import Details, Point
from reparam_core.jobs.exploring import KL_SEQUENCES
from reparam_core.jobs.transfer import transfer_gap
from reparam_core.recipes import Recipe

HEIGHT = 152
ONE_LINE = 31  # characters of a difference: a longer one takes two lines, and leaves room for less below
LEAST = {" points": 0.1, " nats": 0.001}  # below it a difference is smaller than the figures that stand over it
Colour = Literal["normal", "inverse", "off"]


def cards(points: list[Point], baseline: Baseline, details: Details | None, source_bits: int | None) -> None:
    """Four figures side by side; what the other source says stands below each."""
    accuracy, loss, size, time = st.columns(4, gap="small")
    with accuracy:
        _accuracy(points, baseline)
    with loss:
        _loss(points, baseline)
    with size:
        _size(points[0], baseline, source_bits)
    with time:
        _latency(details, untouched(points[0]))


def _card(label: str, value: str, delta: str | None, note: str, colour: Colour = "off", tip: str = "") -> None:
    arrow: Literal["off", "auto"] = "off" if colour == "off" else "auto"
    with st.container(border=True, height=HEIGHT, gap="xsmall"):
        st.metric(label, value, delta, delta_color=colour, delta_arrow=arrow, help=tip or None)
        st.caption(note)


def _accuracy(points: list[Point], baseline: Baseline) -> None:
    point, told = points[0], baseline.beside(points[0])
    delta, colour = _measuring(baseline) if told is None else _delta(
        100 * (told.accuracy - told.base_accuracy),
        [100 * one for one in told.accuracy_interval] if told.accuracy_interval else None, " points", "normal")  # fmt: skip
    note = [f"{_state(point.final, point.seen)} · {point.answers:,} {point.unit}s"]
    beside, apart = _by_measure(points)
    note += [f"{source_words(other.source)}: {other.accuracy:.1%}" for other in beside]
    tip = (f"On {source_words(point.source)}: {point.convention}; against {baseline.name}. "
           f"{point.flips:.1%} are right in the base and wrong in this setting.")  # fmt: skip
    tip += "".join(
        f" {_capital(MEASURES[other.unit])} on {source_words(other.source)}: {other.accuracy:.1%}." for other in apart
    )
    if point.majority is not None:
        note.append(f"commonest answer: {point.majority:.1%}")
    if point.final and (few := _too_few(point)):
        note.append("no interval")
        tip += f" From {few} no interval can be told."
    same = baseline.same(point)
    _card(
        _capital(MEASURES[point.unit]), f"{point.accuracy:.1%}", None if same else delta, " · ".join(note), colour, tip
    )


def _too_few(point: Point) -> str:
    """Of what there is too little for an interval; empty where there is enough."""
    if point.labelled:
        return f"fewer than {LEAST_ROWS} rows" if point.answers < LEAST_ROWS else ""
    return "so few tokens" if point.nll_interval is None and not untouched(point) else ""


def _capital(words: str) -> str:
    """As it begins a card."""
    return words[:1].upper() + words[1:]


def _by_measure(points: list[Point]) -> tuple[list[Point], list[Point]]:
    """The other sources: those on which the first one's measure is taken, and those with a measure of their own."""
    beside = [other for other in points[1:] if other.unit == points[0].unit]
    return beside, [other for other in points[1:] if other.unit != points[0].unit]


def _measuring(baseline: Baseline) -> tuple[str, Colour]:
    """Nothing stands in for the pinned setting while it is not known."""
    return f"measuring {baseline.name.partition(' (')[0]} …", "off"


def _loss(points: list[Point], baseline: Baseline) -> None:
    point, told = points[0], baseline.beside(points[0])
    delta, colour = (_measuring(baseline) if told is None
                     else _delta(told.delta_nll, told.nll_interval, " nats", "inverse"))  # fmt: skip
    gap = _transfer(points)
    state = _state(point.final, point.seen)
    beside, apart = _by_measure(points)
    others = [f"{source_words(other.source)}: {number(other.perplexity)}" for other in beside]
    note = [f"{state[0]} {others[0]}"] if gap else [state, *others]  # its words stand on the card beside it
    tip = "".join(f"A {other.unit} on {source_words(other.source)}: {number(other.perplexity)}. " for other in apart)
    tip += (f"exp of the mean of {point.tokens:,} losses on {source_words(point.source)}: {point.convention}. "
           f"The difference to {baseline.name} is in nats, with its 95 % paired interval.")  # fmt: skip
    if point.kl_from_base is not None and not untouched(point):
        divergence = f"KL from the base {point.kl_from_base:.2g} nats"
        note += [] if gap or len(delta) > ONE_LINE else [divergence]
        tip += f" {divergence}, over {KL_SEQUENCES} of the sequences, the first."
    if gap:
        note.append(gap[0])
        tip += gap[1]
    same = baseline.same(point)
    _card("Perplexity", number(point.perplexity), None if same else delta, " · ".join(note), colour, tip)


def _transfer(points: list[Point]) -> tuple[str, str] | None:
    """How much more a calibrated setting costs outside of what it was calibrated on; where just one of two texts is that."""
    recipe = Recipe.parse(points[0].recipe)
    texts = [one for one in points if not one.labelled]
    domains = {in_domain(recipe.calibration, one.source): one for one in texts}
    if not recipe.reads or len(texts) != 2 or set(domains) != {True, False}:
        return None
    outside, inside = domains[False], domains[True]
    gap = transfer_gap(outside, inside)
    names = " − ".join(source_words(one.source).removeprefix("the ") for one in (outside, inside))
    between = f", 95 % interval {signed(gap.interval[0])} to {signed(gap.interval[1])}" if gap.interval else ""
    tip = (f" The transfer gap is the loss in nats that the setting adds to the base's on {source_words(outside.source)}, "
           f"less what it adds on {source_words(inside.source)}, whose kind of text "
           f"{read_words(recipe.calibration)} holds: what was fitted to one text does not carry over whole{between}.")  # fmt: skip
    if gap.interval and gap.interval[0] <= 0 <= gap.interval[1]:
        return f"no significant transfer gap: {names}", tip
    return f"transfer gap {signed(gap.value)} nats: {names}", tip


def _delta(value: float, interval: Any, unit: str, colour: Colour) -> tuple[str, Colour]:
    """The difference with its interval, as fine as can be read; in words that there is none, or hardly any."""
    if interval is None:
        return f"{value:+.2g}{unit}", "off"
    if interval[0] <= 0 <= interval[1]:
        return "no significant difference", "off"
    least = LEAST[unit]
    if max(map(abs, interval)) < least:
        worse = (value > 0) == (colour == "inverse")
        return f"{'worse' if worse else 'better'} by less than {least:g}{unit}", "off"
    told, low, high = alike(value, *interval)
    return f"{told}{unit} ({low} to {high})", colour


def _state(final: bool, seen: float) -> str:
    """Estimate, measured, or stored with its date, today with its time."""
    if not final:
        return "○ estimate"
    then = datetime.fromtimestamp(seen)
    when = f"{then:%H:%M}" if then.date() == datetime.now().date() else f"{then:%d %b}"
    return f"◷ stored {when}" if seen else "● measured"


def _size(point: Point, baseline: Baseline, source_bits: int | None) -> None:
    told = baseline.beside(point)
    delta = _measuring(baseline)[0] if told is None else (
        f"{told.size_ratio:.2f}× the {'pinned' if baseline.pinned else 'base'}")  # fmt: skip
    note = f"{point.parameters / 1e6:.2f} M numbers, {point.parameters / point.parameters_base:.2f}× the base"
    note += f" · the checkpoint had {source_bits} bits already" if source_bits else ""
    _card("File size", f"{point.bytes / 1e6:.2f} MB", None if baseline.same(point) else delta, note, "off",
          "The safetensors file that `compress --format packed` writes, to the byte.")  # fmt: skip


def _latency(details: Details | None, same: bool) -> None:
    """The time of a written token where the model writes, of reading else; the other one below."""
    if details is None or details.latency is None:
        _card("Latency", "…", None, "timed once the machine is free")
        return
    times, read = details.latency, f"{details.latency['tokens']} tokens read"
    kinds = {"decode": ("decode_ms_per_token", "a written token"), "prefill": ("prefill_ms", read)}
    told = {kind: (words, times["setting"][name], times["base"][name])
            for kind, (name, words) in kinds.items() if times["setting"][name]}  # fmt: skip
    first = next(iter(told))
    words, own, base = told.pop(first)
    note = f"{_state(details.timed, details.seen)} · {words}{'' if same else f', base {_time(base)}'}"
    tip = f"Kernel: {times['setting']['kernel']}. Median of {count(times['runs'], 'run')}, p95 {own['p95']:.3g} ms; "
    tip += "".join(f"{words}: {_time(more)}, base {_time(other)}; " for words, more, other in told.values())
    tip += (f"base and setting in turn, {times['threads']} threads, {details.dtype}. Speed is always told beside the base, "
            "run by run, with its 95 % interval.")  # fmt: skip
    _card("Latency", _time(own), None if same else _speed(times["speed"][first]), note, "off", tip)


def _speed(told: Mapping[str, Any]) -> str:
    """Faster or slower than the base, no difference, or too few runs to say."""
    unsure = "speed not known yet" if told["ci95"] is None else "no significant difference in speed"
    return faster_words(told, " as the base") or unsure


def _time(found: Mapping[str, float]) -> str:
    return f"{found['p50']:.3g} ms"
