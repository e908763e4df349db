"""Claimed against measured: what theory promises beside what file and clock say."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from reparam_core.figures.theme import BASE, COMBINED, styled


def claimed_against_measured(rows: Sequence[tuple[str, float, str]], provenance: str) -> go.Figure:
    """Bars of (what, ratio to the base, reason where it parts from the claim)."""
    names, ratios = [name for name, _, _ in rows], [ratio for _, ratio, _ in rows]
    figure = go.Figure()
    figure.add_bar(y=names, x=ratios, orientation="h", marker_color=COMBINED,
                   text=[f"{ratio:.2f}×  {reason}" for _, ratio, reason in rows], textposition="auto",
                   hovertemplate="%{y}: %{x:.3f}×<extra></extra>")  # fmt: skip
    figure.add_vline(x=1, line={"color": BASE, "dash": "dot"})
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title="× the base", range=[0, max(1.3, *ratios) * 1.05])
    return styled(figure, "What was claimed, and what was measured", provenance, height=300)
