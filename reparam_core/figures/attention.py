"""Attention maps: a grid of thumbnails, and one head large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from reparam_core.figures.theme import styled

THUMBNAIL = 24


def attention_grid(maps: NDArray[np.float32], provenance: str) -> go.Figure:
    """All heads of all layers in one picture: maps (layers, heads, T, T), each thumbnail on its own scale."""
    layers, heads = maps.shape[:2]
    tiles = np.stack([[_thumbnail(maps[layer, head]) for head in range(heads)] for layer in range(layers)])
    size = THUMBNAIL + 2
    picture = tiles.transpose(0, 2, 1, 3).reshape(layers * size, heads * size)
    middle = (THUMBNAIL - 1) / 2
    figure = go.Figure(go.Heatmap(z=picture, colorscale="Viridis", showscale=False, hoverinfo="skip"))
    figure.update_xaxes(title="head", tickvals=[h * size + middle for h in range(heads)],
                        ticktext=[str(h) for h in range(heads)], showgrid=False)  # fmt: skip
    figure.update_yaxes(title="layer", tickvals=[i * size + middle for i in range(layers)],
                        ticktext=[str(i) for i in range(layers)], autorange="reversed", showgrid=False)  # fmt: skip
    return styled(figure, f"{layers} layers × {heads} heads", provenance, height=max(320, min(900, 60 * layers + 140)))


def _thumbnail(attention: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean-pooled to a fixed size, on a square-root scale up to the map's own maximum, with a dark rim."""
    edges = [np.linspace(0, side, THUMBNAIL + 1) for side in attention.shape]
    rows, columns = (one[:-1].astype(int) for one in edges)
    pooled = np.add.reduceat(np.add.reduceat(attention, np.unique(rows), 0), np.unique(columns), 1)
    wide = pooled[np.searchsorted(np.unique(rows), rows)][:, np.searchsorted(np.unique(columns), columns)]
    tile = np.sqrt(wide / max(float(wide.max()), 1e-12)).astype(np.float32)
    return np.pad(tile, ((0, 2), (0, 2)))


def attention_heatmap(attention: NDArray[np.float32], queries: Sequence[str], keys: Sequence[str], title: str,
                      provenance: str, difference: bool = False) -> go.Figure:  # fmt: skip
    """One head: attention (queries, keys); a difference on a map centred on zero."""
    limit = float(np.abs(attention).max()) or 1.0
    scale = {"colorscale": "RdBu_r", "zmid": 0, "zmin": -limit, "zmax": limit} if difference else {
        "colorscale": "Viridis", "zmin": 0, "zmax": 1}  # fmt: skip
    rows, columns = list(range(len(queries))), list(range(len(keys)))
    figure = go.Figure(go.Heatmap(z=attention, x=columns, y=rows, **scale,
                                  hovertemplate="query %{y}, key %{x}: %{z:.3f}<extra></extra>"))  # fmt: skip
    figure.update_xaxes(
        title="key", tickvals=columns, ticktext=list(keys), tickangle=-60, automargin=True, showgrid=False
    )
    figure.update_yaxes(title="query", tickvals=rows, ticktext=list(queries), autorange="reversed", automargin=True,
                        showgrid=False)  # fmt: skip
    return styled(figure, title, provenance, height=480)
