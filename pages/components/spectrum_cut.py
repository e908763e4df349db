"""A spectrum with a cut that the user drags: drawn in the browser, told on release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import streamlit as st

from pages.components.words import source_words
from reparam_core.data import is_labelled
from reparam_core.jobs import Compared, CutQuality
from reparam_core.measure.spectra import random_spectrum

ASSETS = Path(__file__).parents[2] / "assets" / "components"
HTML = '<div class="spectrum-cut"><div class="strip"></div><div class="picture"></div></div>'

_mounted = st.components.v2.component(
    "spectrum_cut",
    html=HTML,
    css=(ASSETS / "spectrum_cut.css").read_text(encoding="utf-8"),
    js=(ASSETS / "spectrum_cut.js").read_text(encoding="utf-8"),
)


def spectrum_cut(role: str, found: Compared, cut: int, hue: str, loss: dict[str, Any]) -> int | None:
    """The spectrum, its cut and what the cut costs; the rank where it was just dropped, once."""
    before = found.before
    data = {
        "role": role, "shape": before.shape, "sigma": _short(before.sigma.tolist()), "cut": cut, "even": before.break_even,
        "edge": before.edge, "above": before.above_edge, "random": _short(random_spectrum(before.sigma, before.shape).tolist()),
        "after": _short(found.after.sigma.tolist()) if found.after else None, "hue": hue, "loss": loss,
        "theme": st.context.theme.type,
    }  # fmt: skip
    dropped = _mounted(key="spectrum-cut", data=data, on_dropped_change=lambda: None)["dropped"]
    # A state with its time, not a trigger: a trigger is lost where its run and a poll's become one.
    if dropped is None or dropped["time"] == st.session_state.get("cut-heard"):
        return None
    st.session_state["cut-heard"] = dropped["time"]
    return int(dropped["rank"])


def _short(values: Sequence[float]) -> list[float]:
    """Six digits are more than a screen shows."""
    return [float(f"{value:.6g}") for value in values]


def score_of(source: str) -> str:
    """What a model is scored by on this source."""
    return "accuracy" if is_labelled(source) else "perplexity"


def loss_of(points: Sequence[CutQuality], source: str, doing: str = "", reason: str = "") -> dict[str, Any]:
    """What the model scores at the cuts measured so far, as the picture takes it."""
    return {
        "name": score_of(source), "source": source_words(source), "labelled": is_labelled(source),
        "base": points[0].base if points else None, "points": [asdict(one) for one in points],
        "doing": doing, "reason": reason,
    }  # fmt: skip
