"""Every head of every layer as a thumbnail on a canvas: click or press Enter on one to see it large."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

ASSETS = Path(__file__).parents[2] / "assets" / "components"
KEY = "attention-grid"
HEIGHT = 412  # pixels that thumbnails may fill before they get smaller
HTML = """
<div class="heads">
  <div role="grid" tabindex="0"><canvas class="all" aria-hidden="true"></canvas></div>
  <div class="lens" hidden><canvas aria-hidden="true"></canvas><b></b><br><span></span></div>
  <div class="spoken" aria-live="polite"></div>
</div>
"""

_mounted = st.components.v2.component(
    "attention_grid",
    html=HTML,
    css=(ASSETS / "attention_grid.css").read_text(encoding="utf-8"),
    js=(ASSETS / "attention_grid.js").read_text(encoding="utf-8"),
)


def attention_grid(title: str, sprite: str, told: Sequence[Sequence[str]], selected: tuple[int, int],
                   opened: Callable[[int, int], None]) -> None:  # fmt: skip
    """The thumbnails of `sprite`; `told` says of each head what hovering shows, `opened` hears of layer and head."""
    data = {"title": title, "sprite": sprite, "told": told, "selected": selected, "layers": len(told),
            "heads": len(told[0]), "height": HEIGHT}  # fmt: skip

    def heard() -> None:
        place = st.session_state[KEY]["opened"]
        if place is not None:
            opened(int(place[0]), int(place[1]))

    _mounted(key=KEY, data=data, on_opened_change=heard)
