"""Colours, type and export settings that every figure shares."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable
from typing import Any

import plotly.graph_objects as go

RANK, SPARSITY, BITS, COMBINED, BASE = "#0072B2", "#D55E00", "#009E73", "#4B3F72", "#6B6B6B"
TRANSFORM = "#CC79A7"
RING = "#E69F00"  # the current setting
RING_TEXT = "#8F6200"  # the same where it is words: the ring itself is too light to read
INK = "#1c2430"
GROUND = "rgba(255,255,255,0.75)"  # behind words that lines may cross
AXIS_COLOURS = {
    "transform": TRANSFORM,
    "rank": RANK,
    "sparsity": SPARSITY,
    "bits": BITS,
    "combined": COMBINED,
    "base": BASE,
}
IN_THE_DARK = {
    TRANSFORM: "#E29CC3",
    RANK: "#4FA8DC",
    SPARSITY: "#F08A4B",
    BITS: "#35C79A",
    COMBINED: "#A99BD8",
    BASE: "#A8A8A8",
    INK: "#e8ecf1",
    RING_TEXT: "#F0B93A",
}
NIGHT, NIGHT_GROUND = "#11161d", "rgba(17,22,29,0.75)"  # the page's ground in the dark
FONT = "Inter, 'Source Sans', 'Noto Sans', 'Noto Sans CJK SC', sans-serif"
SIZE, TITLE_SIZE, FOOTER_SIZE = 13, 15, 11  # of type on a page, in pixels
TITLE_WIDTHS, FOOTER_WIDTHS = (60, 104), (82, 140)  # characters that fit in half a page, and in a whole one
INSET = 8  # of title and footer
LEFT, BELOW = 70, 52  # pixels that an axis takes with its ticks and title
SLIDE = {"width": 800, "height": 450}  # drawn at this size, so that type grows with all else,
SLIDE_SCALE = 1.6  # and then enlarged to 1280 × 720
SLIDE_INSET, SLIDE_RIGHT = 20, 28
HEADING_SIZE, FINDING_SIZE, SLIDE_FOOTER_SIZE = 17, 15, 12  # on the slide 27, 24 and 19 pixels: 14 points at least
HEADING_WIDTH, FINDING_WIDTH, SLIDE_FOOTER_WIDTH = 82, 96, 120
LINE = 1.3  # height of a line, × its type
SHARE_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def styled(figure: go.Figure, title: str, provenance: str, height: int = 310, *, wide: bool = False, left: int = LEFT,
           right: int = 16, above: int = 0, below: int = BELOW) -> go.Figure:  # fmt: skip
    """The finding as title, the provenance as footer, light grid, no legend.

    `wide` figures run over the whole page; the others share a row. `left`, `right`, `above` and `below` are the pixels
    that axes and labels take around the plot.
    """
    heading, footer = (wrapped(text, widths[wide]) for text, widths in ((title, TITLE_WIDTHS), (provenance, FOOTER_WIDTHS)))  # fmt: skip
    figure.update_layout(
        font={"family": FONT, "size": SIZE, "color": INK}, height=height, template="none", showlegend=False, hovermode="closest",
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", meta={"provenance": provenance, "above": above},
    )  # fmt: skip
    clear = {"ticks": "outside", "ticklen": 5, "tickcolor": "rgba(0,0,0,0)"}  # the axes' first labels must not meet
    axis = {"gridcolor": "rgba(128,128,128,0.18)", "zeroline": False, "title_font_size": SIZE, **clear}
    figure.update_xaxes(**axis, title_standoff=6)
    figure.update_yaxes(**axis, title_standoff=4)
    figure.add_annotation(name="footer", xref="paper", yref="paper", x=0, y=0, xanchor="left", yanchor="bottom", align="left",
                          showarrow=False)  # fmt: skip
    return _framed(figure, (heading, TITLE_SIZE), (footer, FOOTER_SIZE), INSET, (left, right, 12 + above, below))


def wrapped(text: str, most: int) -> list[str]:
    """In as few lines as fit, of much the same length: no word is left alone on the last one."""
    found = textwrap.wrap(text, most)
    tried = (textwrap.wrap(text, width) for width in range(max(map(len, found), default=1) // 2 + 1, most))
    return next((one for one in tried if len(one) == len(found)), found)


def _framed(figure: go.Figure, title: tuple[list[str], int], footer: tuple[list[str], int], inset: int,
            room: tuple[int, int, int, int]) -> go.Figure:  # fmt: skip
    """Title and footer as lines in their sizes; the margins hold them beside the plot's own room."""
    left, right, above, below = room
    top, bottom = (round(LINE * size * len(lines)) for lines, size in (title, footer))
    sunk = (
        0.7 * title[1] if len(title[0]) > 1 else 0
    )  # of several lines plotly sets the first one's foot where its head belongs
    figure.update_layout(
        title={"text": "<br>".join(title[0]), "font": {"size": title[1], "weight": 600}, "x": 0, "xref": "container",
               "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": inset + sunk, "l": inset}},
        margin={"l": left, "r": right, "t": inset + top + above, "b": below + bottom + inset},
    )  # fmt: skip
    figure.layout.annotations[-1].update(text="<br>".join(footer[0]), xshift=inset - left, yshift=-(below + bottom + inset - 2),
                                         font={"size": footer[1], "color": BASE})  # fmt: skip
    return figure


def in_the_dark(figure: go.Figure) -> go.Figure:
    """The same figure with its hues lightened for a dark page."""
    text = figure.to_json()
    for light, dark in (IN_THE_DARK | {GROUND: NIGHT_GROUND}).items():
        text = text.replace(light, dark)
    return go.Figure(json.loads(text)).update_layout(paper_bgcolor=NIGHT)  # also when the chart's own camera saves it


def for_slides(figure: go.Figure, heading: str = "") -> go.Figure:
    """The same figure on white, to be enlarged by `SLIDE_SCALE`: the heading large, under it the figure's finding."""
    slide, finding = go.Figure(figure), str(figure.layout.title.text).replace("<br>", " ")
    first = wrapped(heading.rstrip(":") or finding, HEADING_WIDTH)
    second = wrapped(finding, FINDING_WIDTH) if heading else []
    lines = [*first, *(f'<span style="font-size:{FINDING_SIZE}px;font-weight:400">{line}</span>' for line in second)]
    footer, margin = wrapped(figure.layout.meta["provenance"], SLIDE_FOOTER_WIDTH), figure.layout.margin
    below = margin.b - INSET - round(LINE * FOOTER_SIZE * (figure.layout.annotations[-1].text.count("<br>") + 1))
    slide.update_layout(**SLIDE, paper_bgcolor="white", plot_bgcolor="white")
    room = (margin.l + SLIDE_INSET - INSET, max(margin.r, SLIDE_RIGHT), 10 + figure.layout.meta["above"], below)
    return _framed(slide, (lines, HEADING_SIZE), (footer, SLIDE_FOOTER_SIZE), SLIDE_INSET, room)


def rendered(figure: go.Figure, format: str, heading: str = "") -> bytes:
    """A slide's picture, `svg` or `png`. Raises RuntimeError or ValueError where there is no browser to draw it."""
    import kaleido

    kaleido.start_sync_server(silence_warnings=True)
    scale = SLIDE_SCALE * (1 if format == "svg" else 2)
    return bytes(for_slides(figure, heading).to_image(format=format, scale=scale, **SLIDE))


# Buttons that do what dragging and a double click do: with them the bar lies over the title of a chart that is pointed at.
MOUSE = ("zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d")


def export_config(name: str) -> dict[str, Any]:
    """The mode bar's download, which needs no browser on the server: a PNG as large as a slide's."""
    return {
        "displaylogo": False,
        "toImageButtonOptions": {"format": "png", "filename": name, **SLIDE, "scale": 2 * SLIDE_SCALE},
        "modeBarButtonsToRemove": ["lasso2d", "select2d", *MOUSE],
    }


def spoken_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Ticks of a log axis in values that people say: as coarse as still leaves three of them, `most` at most."""
    for steps in (
        (1,),
        (1, 2, 5),
        (1, 1.5, 2, 3, 4, 5, 6, 8),
        tuple(one / 2 for one in range(2, 20)),
        tuple(one / 20 for one in range(20, 200)),
    ):
        found = [step * 10.0**d for d in range(-12, 31) for step in steps if low <= step * 10.0**d <= high]
        if len(found) >= 3:
            return found[:: -(-len(found) // most)]
    return found


def log_axis(low: float, high: float, most: int = 7) -> dict[str, Any]:
    """Type, range and spoken ticks of a log axis."""
    ticks = spoken_ticks(low, high, most)
    return {"type": "log", "range": [math.log10(low), math.log10(high)], "tickvals": ticks,
            "ticktext": [spoken(one) for one in ticks]}  # fmt: skip


def share_axis(values: Iterable[float]) -> dict[str, Any]:
    """Range and ticks in per cent around these shares, with room, on round values and never beyond 0 or 100 %."""
    known = list(values)
    low, high = min(known, default=0.0), max(known, default=1.0)
    room = max(0.15 * (high - low), 0.01)
    low, high = max(0.0, low - room), min(1.0, high + room)
    step = next(one for one in SHARE_STEPS if (high - low) / one <= 5)
    bottom, top = step * math.floor(low / step + 1e-9), min(1.0, step * math.ceil(high / step - 1e-9))
    return {"range": [bottom, top], "dtick": step, "tick0": 0, "tickformat": ".0%" if step >= 0.01 else ".1%"}


def room_for(labels: Iterable[str], size: float = SIZE) -> int:
    """Pixels that the longest of an axis's labels takes, with the gap to its plot."""
    return round(0.56 * size * max(map(len, labels), default=0)) + 16


def shortened(text: str, most: int) -> str:
    """Cut with an ellipsis where it is longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def spoken(value: float) -> str:
    """`1,000`, `0.5`, `10⁶`, `10⁻⁴`, `∞`."""
    if value >= 1e5 or 0 < value < 1e-3:
        return powered(value, 2)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def with_sign(value: float, size: str) -> str:
    """A size in words with the sign of the value, a minus as it is printed, not as it is typed."""
    return f"{'−' if value < 0 else '+'}{size}"


def powered(value: float, digits: int) -> str:
    """A large number with a power of ten: `9.96·10⁵`, `10⁶`; without end `∞`."""
    if math.isinf(value):
        return "∞"
    lead, _, power = f"{value:.{digits}e}".partition("e")
    raised = f"10{str(int(power)).translate(SUPERSCRIPTS)}"
    return raised if float(lead) == 1 else f"{float(lead):g}·{raised}"
