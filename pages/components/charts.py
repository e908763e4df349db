"""A chart with its downloads, in the page's light or dark."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go
import streamlit as st
from streamlit import runtime

from pages.components.live import live
from reparam_core.figures.theme import export_config, in_the_dark, rendered
from reparam_core.jobs import Ticket

HELD = 32  # downloads, the latest
_saved = itertools.count()
# A download is made by a thread that belongs to no session, which needs no word in the log.
logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context").setLevel(logging.ERROR)
FORMATS = {"svg": "image/svg+xml", "png": "image/png"}


def chart(figure: go.Figure, name: str, heading: str = "", **selection: Any) -> Any:
    """Draw a figure; below it, its slide as SVG and PNG, with `heading` (the page's sentence) above its title."""
    drawn = _plot(figure, name, **selection)
    downloads(lambda: figure, name, heading)
    return drawn


def live_chart(draw: Callable[[], go.Figure | None], name: str, *tickets: Ticket | None, every: float, heading: str = "",
               beside: Callable[[], None] | None = None, **selection: Any) -> None:  # fmt: skip
    """Draw what `draw` makes, and again while a ticket is pending; None where there is nothing to draw yet."""

    def drawn() -> Callable[[], go.Figure] | None:
        figure = draw()
        if figure is None:
            return None
        _plot(figure, name, **selection)
        return lambda: figure

    live_saved(drawn, name, *tickets, every=every, heading=heading, beside=beside)


def live_saved(draw: Callable[[], Callable[[], go.Figure] | None], name: str, *tickets: Ticket | None, every: float,
               heading: str = "", beside: Callable[[], None] | None = None) -> None:  # fmt: skip
    """The same for what draws itself: `draw` says how its slide is made, None where there is none.

    The downloads, with `beside` to their left, stand outside of what is drawn again: a button that is drawn again has a new file, and a click on the
    button that was there before finds none.
    """
    figures: dict[str, Callable[[], go.Figure]] = st.session_state.setdefault(
        "figures", {}
    )  # a download's thread knows no session
    laid_out = False

    def drawn() -> None:
        figure, shown = draw(), name in figures
        if figure is None:
            figures.pop(name, None)
            return
        figures[name] = figure
        if laid_out and not shown:
            st.rerun()  # the first figure since the page was laid out: its buttons are outside of this fragment

    live(drawn, *tickets, every=every)
    if name in figures:
        downloads(lambda: figures[name](), name, heading, beside)
    laid_out = True


def _plot(figure: go.Figure, name: str, **selection: Any) -> Any:
    shown = in_the_dark(figure) if st.context.theme.type == "dark" else figure
    return st.plotly_chart(shown, key=f"chart-{name}", config=export_config(name), theme=None,
                           alt=str(figure.layout.title.text), **selection)  # fmt: skip


def downloads(make: Callable[[], go.Figure], name: str, heading: str = "",
              beside: Callable[[], None] | None = None) -> None:  # fmt: skip
    """A figure's slide as SVG and PNG, made only when it is asked for; `beside` draws what shares their row."""
    with st.container(horizontal=True, horizontal_alignment="right", gap="small", key=f"save-{name}"):
        if beside is not None:
            beside()
        for format, mime in FORMATS.items():
            file = f"{name}.{format}"
            st.download_button(
                format.upper(), _slide(make, format, heading, file), file, mime, key=f"{format}-{name}",
                type="tertiary", icon=":material/download:", on_click="ignore",
                help="A slide of 1280 × 720 with title and provenance. The chart's own camera works without Chrome here.",
            )  # fmt: skip


def _slide(make: Callable[[], go.Figure], format: str, heading: str, file: str) -> Callable[[], bytes]:
    """Drawn only when it is asked for: a picture takes a moment."""

    def drawn() -> bytes:
        picture = rendered(make(), format, heading)
        if runtime.exists():
            _hold(picture, FORMATS[format], file)
        return picture

    return drawn


def _hold(picture: bytes, mime: str, file: str) -> None:
    """Refer to the file of a download: without that it is gone at the second redraw of any fragment, fetched or not."""
    files = runtime.get_instance().media_file_mgr
    files.add(picture, mime, f"saved-{next(_saved) % HELD}", file, is_for_static_download=True)
