"""Colours, type and export settings that every figure shares."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

RANK, SPARSITY, BITS, COMBINED, BASE = "#0072B2", "#D55E00", "#009E73", "#4B3F72", "#6B6B6B"
AXIS_COLOURS = {"rank": RANK, "sparsity": SPARSITY, "bits": BITS, "combined": COMBINED, "base": BASE}
FONT = "Inter, 'Source Sans', 'Noto Sans', 'Noto Sans CJK SC', sans-serif"


def styled(figure: go.Figure, title: str, provenance: str, height: int = 340) -> go.Figure:
    """The finding as title, the provenance as footer, light grid, no legend."""
    figure.update_layout(
        title={"text": title, "font": {"size": 15}, "x": 0, "xref": "paper", "y": 0.97, "yanchor": "top"},
        font={"family": FONT, "size": 14}, height=height, showlegend=False, hovermode="closest",
        margin={"l": 64, "r": 16, "t": 44, "b": 80}, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip
    figure.update_xaxes(gridcolor="rgba(128,128,128,0.18)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.18)", zeroline=False)
    figure.add_annotation(text=provenance, xref="paper", yref="paper", x=0, y=0, yshift=-76, xanchor="left",
                          showarrow=False, font={"size": 11, "color": BASE})  # fmt: skip
    return figure


def export_config(name: str) -> dict[str, Any]:
    """The mode bar's download: SVG, 16:9, legible on a projector."""
    return {
        "displaylogo": False,
        "toImageButtonOptions": {"format": "svg", "filename": name, "width": 1280, "height": 720, "scale": 2},
        "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    }


def spoken_ticks(low: float, high: float) -> list[float]:
    """Ticks of a log axis in values that people say: 1, 2, 5 a decade while they fit, else whole decades."""
    decades = range(-6, 31)
    fine = [step * 10.0**d for d in decades for step in (1, 2, 5) if low <= step * 10.0**d <= high]
    return (
        fine
        if 2 <= len(fine) <= 7
        else [10.0**d for d in decades if low <= 10.0**d <= high][:: max(1, len(fine) // 21)]
    )


def spoken(value: float) -> str:
    """`1,000`, `0.5`, `10⁶`."""
    if value >= 1e5:
        digits = str(len(f"{value:.0f}") - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
        lead = f"{value / 10.0 ** (len(f'{value:.0f}') - 1):.2g}"
        return f"10{digits}" if lead == "1" else f"{lead}·10{digits}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
