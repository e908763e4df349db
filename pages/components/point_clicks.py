"""A click on a point of a chart, heard by the browser: Streamlit loses one on a chart that is drawn again meanwhile."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

KEY = "point-clicks"
CHARTS = ("trade-offs", "along-")  # how the names of those begin whose points are settings

_mounted = st.components.v2.component(
    "point_clicks",
    js=(Path(__file__).parents[2] / "assets" / "components" / "point_clicks.js").read_text(encoding="utf-8"),
)


def hear_clicks() -> None:
    """Where no one sees it."""
    _mounted(key=KEY, data={"charts": CHARTS}, on_clicked_change=lambda: None)


def clicked() -> str | None:
    """The recipe of the point that was just clicked, once."""
    # A state with its time, not a trigger: a trigger is lost where its run and a poll's become one.
    told = st.session_state.get(KEY, {}).get("clicked")
    if not told or told["time"] == st.session_state.get("click-heard"):
        return None
    st.session_state["click-heard"] = told["time"]
    return str(told["recipe"])
