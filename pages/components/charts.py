"""A chart with its download."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from reparam_core.figures.theme import export_config


def chart(figure: go.Figure, name: str, **selection: Any) -> Any:
    """Draw a figure; its mode bar saves it as SVG, 16:9."""
    return st.plotly_chart(figure, key=f"chart-{name}", config=export_config(name), theme="streamlit", **selection)
