"""How long what is being done will still take, from how far it came."""

from __future__ import annotations

import time

import streamlit as st

from pages.components.more import duration

MOVED = 0.02  # of the whole, from which on its pace is known


def with_time_left(name: str, doing: str, share: float, expected: float = 0.0) -> str:
    """`Reading the calibration text: 12 of 64 sequences, about 40 s left`; `expected` until its own pace is known.

    What is done comes in phases: each is timed by itself, and known by its first word.
    """
    began: dict[str, tuple[str, float, float]] = st.session_state.setdefault("began", {})
    phase, now = doing.partition(" ")[0], time.monotonic()
    if name not in began or began[name][0] != phase or share < began[name][2]:
        began[name] = (phase, now, share)
    _, since, first = began[name]
    moved = share - first
    left = (now - since) * (1 - share) / moved if moved >= MOVED else expected * (1 - share)
    return f"{doing}, about {duration(left)} left" if left >= 2 else doing
