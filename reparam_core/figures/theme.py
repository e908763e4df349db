"""Colours, type and export settings that every figure shares."""

from __future__ import annotations

import json
import math
import textwrap
from typing import Any

import plotly.graph_objects as go

RANK, SPARSITY, BITS, COMBINED, BASE = "#0072B2", "#D55E00", "#009E73", "#4B3F72", "#6B6B6B"
RING = "#E69F00"  # the current setting
INK = "#1c2430"
AXIS_COLOURS = {"rank": RANK, "sparsity": SPARSITY, "bits": BITS, "combined": COMBINED, "base": BASE}
IN_THE_DARK = {
    RANK: "#4FA8DC",
    SPARSITY: "#F08A4B",
    BITS: "#35C79A",
    COMBINED: "#A99BD8",
    BASE: "#A8A8A8",
    INK: "#e8ecf1",
}
NIGHT = "#11161d"  # the page's ground in the dark
FONT = "Inter, 'Source Sans', 'Noto Sans', 'Noto Sans CJK SC', sans-serif"
TITLE_WIDTH, FOOTER_WIDTH = 60, 66  # characters that fit in half a page
SLIDE_FOOTER_WIDTH = 140
EXPORT = {"width": 1280, "height": 720}
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def styled(figure: go.Figure, title: str, provenance: str, height: int = 310) -> go.Figure:
    """The finding as title, the provenance as footer, light grid, no legend."""
    heading, footer = textwrap.wrap(title, TITLE_WIDTH), textwrap.wrap(provenance, FOOTER_WIDTH)
    figure.update_layout(
        title={"text": "<br>".join(heading), "font": {"size": 15, "weight": 600}, "x": 0, "xref": "container", "xanchor": "left",
               "y": 0.985, "yref": "container", "yanchor": "top", "pad": {"t": 10 * len(heading) - 4, "l": 2}},
        font={"family": FONT, "size": 13, "color": INK}, height=height, template="none", showlegend=False, hovermode="closest",
        margin={"l": 64, "r": 16, "t": 18 + 20 * len(heading), "b": 56 + 15 * len(footer)},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", meta={"provenance": provenance},
    )  # fmt: skip
    axis = {"gridcolor": "rgba(128,128,128,0.18)", "zeroline": False, "title_font_size": 13}
    figure.update_xaxes(**axis, title_standoff=6)
    figure.update_yaxes(**axis, title_standoff=4)
    figure.add_annotation(text="<br>".join(footer), xref="paper", yref="paper", x=0, y=0, xanchor="left", yanchor="top",
                          yshift=-46, align="left", showarrow=False, font={"size": 11, "color": BASE})  # fmt: skip
    return figure


def in_the_dark(figure: go.Figure) -> go.Figure:
    """The same figure with its hues lightened for a dark page."""
    text = figure.to_json()
    for light, dark in IN_THE_DARK.items():
        text = text.replace(light, dark)
    return go.Figure(json.loads(text)).update_layout(paper_bgcolor=NIGHT)  # also when the chart's own camera saves it


def for_slides(figure: go.Figure, heading: str = "") -> go.Figure:
    """The same figure at 1280 × 720 on white, in type that the last row reads; `heading` goes above its title."""
    slide = go.Figure(figure)
    title = "<br>".join(textwrap.wrap(f"{heading} {figure.layout.title.text.replace('<br>', ' ')}".strip(), 95))
    slide.update_layout(**EXPORT, paper_bgcolor="white", plot_bgcolor="white", font={"size": 19, "color": INK},
                        title={"text": title, "font": {"size": 25}, "pad": {"t": 22, "l": 24}}, margin={"l": 110, "r": 90, "t": 120, "b": 120})  # fmt: skip
    slide.update_xaxes(title_font_size=19)
    slide.update_yaxes(title_font_size=19)
    slide.update_annotations(font_size=18)
    footer = "<br>".join(textwrap.wrap(figure.layout.meta["provenance"], SLIDE_FOOTER_WIDTH))
    slide.layout.annotations[-1].update(yshift=-76, font_size=15, text=footer)
    return slide


def rendered(figure: go.Figure, format: str, heading: str = "") -> bytes:
    """A slide's picture, `svg` or `png`. Raises RuntimeError or ValueError where there is no browser to draw it."""
    import kaleido

    kaleido.start_sync_server(silence_warnings=True)
    scale = 1 if format == "svg" else 2
    return bytes(for_slides(figure, heading).to_image(format=format, scale=scale, **EXPORT))


def export_config(name: str) -> dict[str, Any]:
    """The mode bar's download, which needs no browser on the server: PNG, 16:9."""
    return {
        "displaylogo": False,
        "toImageButtonOptions": {"format": "png", "filename": name, **EXPORT, "scale": 2},
        "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    }


def spoken_ticks(low: float, high: float) -> list[float]:
    """Ticks of a log axis in values that people say: as coarse as still leaves three of them, seven at most."""
    for steps in (
        (1,),
        (1, 2, 5),
        (1, 1.5, 2, 3, 4, 5, 6, 8),
        tuple(one / 2 for one in range(2, 20)),
        tuple(one / 20 for one in range(20, 200)),
    ):
        found = [step * 10.0**d for d in range(-6, 31) for step in steps if low <= step * 10.0**d <= high]
        if len(found) >= 3:
            return found[:: -(-len(found) // 7)]
    return found


def spoken(value: float) -> str:
    """`1,000`, `0.5`, `10⁶`, `∞`."""
    if value >= 1e5:
        return powered(value, 2)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def powered(value: float, digits: int) -> str:
    """A large number with a power of ten: `9.96·10⁵`, `10⁶`; without end `∞`."""
    if math.isinf(value):
        return "∞"
    lead, _, power = f"{value:.{digits}e}".partition("e")
    raised = f"10{str(int(power)).translate(SUPERSCRIPTS)}"
    return raised if float(lead) == 1 else f"{float(lead):g}·{raised}"
