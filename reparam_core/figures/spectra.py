"""Singular spectra, ranks over layers, and how alternating least squares converges."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from reparam_core.figures.theme import BASE, BITS, RANK, SPARSITY, styled


def spectrum(
    sigma: Sequence[float], cut: int, edge: float, provenance: str, after: Sequence[float] | None = None
) -> go.Figure:
    """Singular values on a log scale with cumulative energy, the cut, and the random-matrix edge."""
    index = np.arange(1, len(sigma) + 1)
    energy = np.cumsum(np.square(sigma)) / np.sum(np.square(sigma))
    figure = go.Figure()
    figure.add_scatter(x=index, y=sigma, mode="lines", line={"color": RANK, "width": 2.5}, name="before",
                       hovertemplate="σ%{x} = %{y:.3g}<extra></extra>")  # fmt: skip
    if after is not None:
        kept = [value if value > 1e-6 * after[0] else None for value in after]
        figure.add_scatter(x=index, y=kept, mode="lines", line={"color": SPARSITY, "dash": "dash"}, name="after",
                           hovertemplate="after: %{y:.3g}<extra></extra>")  # fmt: skip
    figure.add_scatter(x=index, y=energy, mode="lines", line={"color": BITS, "dash": "dot"}, yaxis="y2",
                       hovertemplate="energy up to %{x}: %{y:.1%}<extra></extra>")  # fmt: skip
    figure.add_vline(x=cut, line={"color": "#E69F00", "width": 2}, annotation_text=f"rank {cut}")
    figure.add_hline(y=edge, line={"color": BASE, "dash": "dot"})
    # On a log axis an annotation is placed by its logarithm, unlike the line itself.
    figure.add_annotation(x=len(sigma), y=math.log10(edge), text="random-matrix edge", showarrow=False,
                          xanchor="right", yanchor="bottom", font={"color": BASE})  # fmt: skip
    figure.update_layout(yaxis2={"overlaying": "y", "side": "right", "range": [0, 1.02], "tickformat": ".0%",
                                 "title": "cumulative energy (dotted)", "showgrid": False})  # fmt: skip
    figure.update_yaxes(type="log", title="singular value", selector={"overlaying": None})
    figure.update_xaxes(title="index")
    found = f"Rank {cut} of {len(sigma)} holds {energy[cut - 1]:.1%} of the energy"
    styled(figure, found, provenance, height=400)
    figure.update_layout(margin_r=84)
    return figure


def rank_heatmap(values: Sequence[Sequence[float]], layers: Sequence[str], kinds: Sequence[str],
                 what: str, provenance: str) -> go.Figure:  # fmt: skip
    """A rank over layer × kind of matrix, as a share of full rank."""
    figure = go.Figure(go.Heatmap(z=values, x=list(kinds), y=list(layers), colorscale="Cividis",
                                  colorbar={"title": "share"}, hovertemplate="%{y} %{x}: %{z:.2f}<extra></extra>"))  # fmt: skip
    figure.update_yaxes(autorange="reversed", title="layer", type="category")
    return styled(figure, what, provenance, height=400)


def als_convergence(losses: Sequence[float], optimum: float, provenance: str) -> go.Figure:
    """‖W − UVᵀ‖² / ‖W‖² after every round of alternating least squares, above the SVD's optimum."""
    rounds = list(range(1, len(losses) + 1))
    figure = go.Figure()
    figure.add_scatter(x=rounds, y=list(losses), mode="lines+markers", line={"color": RANK},
                       hovertemplate="round %{x}: %{y:.5f}<extra></extra>")  # fmt: skip
    figure.add_hline(y=optimum, line={"color": BASE, "dash": "dot"},
                     annotation_text="SVD, the optimum (Eckart–Young)", annotation_position="bottom right")  # fmt: skip
    figure.update_xaxes(title="round", dtick=max(1, len(rounds) // 10))
    figure.update_yaxes(title="relative squared error")
    above = losses[-1] / optimum - 1 if optimum > 0 else 0.0
    return styled(figure, f"ALS: {above:.2%} above the optimum after {len(rounds)} rounds", provenance)
