"""Singular spectra, ranks over layers, and how alternating least squares converges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from reparam_core.figures.theme import BASE, INK, RANK, RING, SPARSITY, spoken, spoken_ticks, styled

NOTHING = 1e-6  # times σ₁: below it a singular value is rounding
LOSS_SHARE = 0.26  # of the height, where there is a loss to show
CELL = 34  # pixels of a row of the map
LABELLED = {"before": 0.2, "after": 0.6}  # where along its curve a name stands, as a share
DEPTH = (0.3, 0.85)  # of a sequential scale that reads on white and on black, first layer to last
FEW = 12  # layers up to which a cell has room for its number
Losses = Sequence[tuple[int, float, float | None, float | None]]  # rank, value, 95 % interval


def spectrum(
    sigma: Sequence[float], cut: int, edge: float, even: int, provenance: str, *, name: str = "",
    random: Sequence[float] = (), after: Sequence[float] | None = None, after_colour: str = SPARSITY,
    losses: Losses = (), base: float = math.nan, score: str = "perplexity",
) -> go.Figure:  # fmt: skip
    """Singular values on a log scale with cumulative energy, the cut, break-even, the random-matrix edge; loss below."""
    energy = np.cumsum(np.square(sigma)) / (np.sum(np.square(sigma)) or 1.0)
    figure = go.Figure()
    if random:
        _singular_values(figure, random, {"color": BASE, "dash": "dot", "width": 1.5}, "a random matrix")
    _singular_values(figure, sigma, {"color": RANK, "width": 2.5}, "before" if after else "")
    if after is not None:
        _singular_values(figure, after, {"color": after_colour, "dash": "dash", "width": 2.5}, "after")
    figure.add_scatter(x=list(range(1, len(sigma) + 1)), y=energy, mode="lines", line={"color": INK, "dash": "dot"},
                       yaxis="y2", hovertemplate="energy up to %{x}: %{y:.1%}<extra></extra>")  # fmt: skip
    _references(figure, len(sigma), cut, edge, even)
    bottom = LOSS_SHARE + 0.08 if losses else 0.0
    figure.update_layout(
        yaxis={"type": "log", "title": "singular value σ", "domain": [bottom, 1], "exponentformat": "power"},
        yaxis2={"overlaying": "y", "side": "right", "range": [0, 1.02], "tickvals": [0, 0.25, 0.5, 0.75, 1], "tickformat": ".0%",
                "tickmode": "array", "title": {"text": "cumulative energy (dotted)", "standoff": 12}, "showgrid": False})  # fmt: skip
    figure.update_xaxes(title="rank: singular values in falling order", range=[0, len(sigma) * 1.01], anchor="free",
                        position=0)  # fmt: skip
    if losses:
        _loss_panel(figure, losses, base, score, len(sigma))
    error = math.sqrt(max(0.0, 1 - float(energy[cut - 1])))
    found = f"{name} cut at rank {cut} of {len(sigma)} keeps {energy[cut - 1]:.1%} of the energy; relative error {error:.1%}"
    here = next((value for rank, value, _, _ in losses if rank == cut), None)
    told = "{:.1%}".format if score == "accuracy" else spoken
    found += f"; {score} {told(base)} → {told(here)}" if here is not None else ""
    styled(figure, found.strip(), provenance, height=440)
    figure.update_layout(margin_r=84)
    return figure


def _singular_values(figure: go.Figure, sigma: Sequence[float], line: dict[str, object], name: str) -> None:
    """A spectrum with its name beside it; what is rounding is left out."""
    kept = [value for value in sigma if value > NOTHING * sigma[0]]
    figure.add_scatter(x=list(range(1, len(kept) + 1)), y=kept, mode="lines", line=line, name=name,
                       hovertemplate=name + " σ%{x} = %{y:.3g}<extra></extra>")  # fmt: skip
    if kept and name:
        at = int(LABELLED.get(name, 0.85) * (len(kept) - 1))
        # On a log axis an annotation is placed by its logarithm, unlike a line.
        figure.add_annotation(x=at + 1, y=math.log10(kept[at]), text=name, showarrow=False, yshift=-12 if name == "after" else 14,
                              font={"color": line["color"]})  # fmt: skip


def _references(figure: go.Figure, full: int, cut: int, edge: float, even: int) -> None:
    """The cut, break-even and the random-matrix edge, each named where it stands."""
    figure.add_vrect(x0=even, x1=full, fillcolor=BASE, opacity=0.08, line_width=0, layer="below")
    for x, colour, dash, text, level in (
        (cut, RING, "solid", f"cut {cut}", 1.0),
        (even, BASE, "dash", f"break-even {even}", 0.0),
    ):
        figure.add_vline(x=x, line={"color": colour, "width": 2, "dash": dash})
        figure.add_annotation(x=x, y=level, yref="y domain", text=text, showarrow=False, xanchor="left", xshift=4,
                              yanchor="top" if level else "bottom", font={"color": colour if level else BASE})  # fmt: skip
    figure.add_shape(type="line", x0=0, x1=1, xref="x domain", y0=edge, y1=edge, line={"color": BASE, "width": 1.5})
    figure.add_annotation(x=full, y=math.log10(edge) if edge > 0 else 0, text="random-matrix edge", showarrow=False,
                          xanchor="right", yanchor="bottom", font={"color": BASE})  # fmt: skip


def _loss_panel(figure: go.Figure, losses: Losses, base: float, score: str, full: int) -> None:
    """What the model scores where this matrix alone is cut, with 95 % intervals."""
    ranks, values = [one[0] for one in losses], [one[1] for one in losses]
    known = [(value, low, high) for _, value, low, high in losses if low is not None and high is not None]
    whole = len(known) == len(losses)
    bars = {"type": "data", "symmetric": False, "array": [high - value for value, _, high in known],
            "arrayminus": [value - low for value, low, _ in known], "width": 0} if whole else None  # fmt: skip
    figure.add_scatter(x=ranks, y=values, mode="lines+markers", yaxis="y3", error_y=bars, marker={"size": 7},
                       line={"color": RANK, "dash": "dot", "width": 1.5},
                       hovertemplate="rank %{x}: " + score + " %{y:.4g}<extra></extra>")  # fmt: skip
    log = score == "perplexity"
    low, high = min(base, *values), max(base, *values)
    room = max(0.15 * (high - low), 0.01 * base)
    reach, ticks = (max(low - room, 0.5 * low), high + room), spoken_ticks(low - room, high + room)
    figure.add_shape(type="line", x0=0, x1=full, yref="y3", y0=base, y1=base, line={"color": BASE, "width": 1.5})
    figure.add_annotation(x=full, yref="y3", y=math.log10(base) if log else base, text="base", showarrow=False,
                          xanchor="right", yanchor="bottom", font={"color": BASE})  # fmt: skip
    figure.update_layout(yaxis3={
        "domain": [0, LOSS_SHARE], "title": score, "anchor": "x", "type": "log" if log else "linear",
        "range": [math.log10(one) for one in reach] if log else list(reach),
        **({"tickvals": ticks, "ticktext": [spoken(one) for one in ticks]} if log else {"tickformat": ".0%", "nticks": 4}),
    })  # fmt: skip


def spectra_by_depth(spectra: Sequence[Sequence[float]], layers: Sequence[int], kind: str, chosen: int | None,
                     provenance: str) -> go.Figure:  # fmt: skip
    """The spectra of one kind over all layers, each against its first singular value, coloured by depth."""
    figure = go.Figure()
    colours = sample_colorscale("Viridis", list(np.linspace(*DEPTH, max(2, len(layers)))))
    drawn = list(zip(spectra, layers, colours, strict=False))
    for sigma, layer, colour in sorted(drawn, key=lambda one: one[1] == chosen):  # the chosen one above the others
        here = layer == chosen
        figure.add_scatter(
            x=[(index + 1) / len(sigma) for index in range(len(sigma))], y=[value / sigma[0] for value in sigma],
            mode="lines", line={"color": RING if here else colour, "width": 3.5 if here else 1.5},
            hovertemplate=f"layer {layer}: " + "%{y:.3f} of the first at %{x:.0%} of full rank<extra></extra>",
        )  # fmt: skip
    marked = {0: colours[0], len(layers) - 1: colours[len(layers) - 1]}
    marked |= {index: RING for index, layer in enumerate(layers) if layer == chosen}
    for order, (index, colour) in enumerate(sorted(marked.items())):
        at = int((0.3 + 0.2 * order) * len(spectra[index]))
        level = math.log10(max(spectra[index][at] / spectra[index][0], NOTHING))
        figure.add_annotation(x=(at + 1) / len(spectra[index]), y=level, text=f"layer {layers[index]}", arrowcolor=colour,
                              ax=28, ay=_away(spectra, index, at), font={"color": colour})  # fmt: skip
    half = [sum(value > 0.5 * sigma[0] for value in sigma) for sigma in spectra]
    lowest = min((sigma[-1] / sigma[0] for sigma in spectra), default=1.0)
    lowest = max(lowest, 1e-3)
    ticks = spoken_ticks(lowest, 1.0)
    figure.update_yaxes(type="log", title="σᵢ / σ₁", range=[math.log10(lowest), 0.05], tickvals=ticks,
                        ticktext=[spoken(one) for one in ticks])  # fmt: skip
    figure.update_xaxes(title="i, as a share of full rank", tickformat=".0%", range=[0, 1.01])
    most, least = layers[int(np.argmax(half))], layers[int(np.argmin(half))]
    found = f"{kind}: {max(half)} directions are at least half as strong as the first in layer {most}, only {min(half)} in layer {least}"
    return styled(figure, found, provenance, height=380)


def _away(spectra: Sequence[Sequence[float]], index: int, at: int) -> int:
    """Where a curve's label stands: above what is high among its fellows, below what is low."""
    level = spectra[index][at] / spectra[index][0]
    above = sum(sigma[at] / sigma[0] > level for sigma in spectra if at < len(sigma))
    return -34 if 2 * above < len(spectra) else 34


def rank_map(values: Mapping[str, float], roles: Sequence[Sequence[str]], kinds: Sequence[str], layers: Sequence[int],
             chosen: str, what: str, provenance: str, *, ratio: bool = False, difference: bool = False) -> go.Figure:  # fmt: skip
    """A quantity of every role over kind × layer. Each cell carries its role for a click; the chosen one is ringed."""
    points = 100 if difference and not ratio else 1  # a difference of shares is told in points
    table = np.array([[points * values.get(role, math.nan) for role in row] for row in roles], dtype=float)
    scale = _scale(table, ratio, difference)
    told = "%{z:+.1f}" if points > 1 else "%{z:+.2f}" if difference else "%{z:.2f}" if ratio else "%{z:.0%}"
    figure = go.Figure(go.Heatmap(
        z=table, x=list(layers), y=list(kinds), xgap=1, ygap=1, hoverinfo="skip", texttemplate=told if len(layers) <= FEW else None,
        colorbar={"tickformat": ".2~f" if ratio or difference else ".0%", "thickness": 12}, **scale))  # fmt: skip
    _clickable(figure, values, roles, kinds, layers, what, "" if ratio or difference else "%")
    for row, names in enumerate(roles):
        if chosen in names:
            figure.add_shape(type="rect", x0=layers[list(names).index(chosen)] - 0.5, x1=layers[list(names).index(chosen)] + 0.5,
                             y0=row - 0.5, y1=row + 0.5, line={"color": RING, "width": 3})  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False, automargin=True)
    figure.update_xaxes(
        title="layer", dtick=1 if len(layers) <= 16 else 2, showgrid=False, range=[layers[0] - 0.5, layers[-1] + 0.5]
    )
    figure.update_layout(hoverdistance=60)
    return styled(
        figure, _range_told(table, roles, what, ratio, difference), provenance, height=CELL * len(kinds) + 130
    )


def _scale(table: np.ndarray, ratio: bool, difference: bool) -> dict[str, object]:
    """Sequential; diverging around 1 for a ratio of which 1 is the middle, around 0 for a difference."""
    if not (ratio or difference):
        return {"colorscale": "Cividis"}
    middle = 0.0 if difference else 1.0
    reach = float(np.nanmax(np.abs(table - middle), initial=0.0)) or 0.01
    return {"colorscale": "RdBu_r", "zmin": middle - reach, "zmax": middle + reach}


def _clickable(figure: go.Figure, values: Mapping[str, float], roles: Sequence[Sequence[str]], kinds: Sequence[str],
               layers: Sequence[int], what: str, unit: str) -> None:  # fmt: skip
    """A heat map answers no click here: an unseen marker in every cell does."""
    cells = [(layer, kind, roles[row][column], values[roles[row][column]]) for row, kind in enumerate(kinds)
             for column, layer in enumerate(layers) if roles[row][column] in values]  # fmt: skip
    unseen = {"marker": {"opacity": 0}}
    figure.add_scatter(
        x=[one[0] for one in cells], y=[one[1] for one in cells], mode="markers", selected=unseen, unselected=unseen,
        marker={"size": 24, "symbol": "square", "opacity": 0},
        customdata=[[role, f"{value:.1%}" if unit else f"{value:.2f}"] for _, _, role, value in cells],
        hovertemplate="%{customdata[0]}<br>" + what + " %{customdata[1]}<br><i>click to look at it</i><extra></extra>",
    )  # fmt: skip


def _range_told(table: np.ndarray, roles: Sequence[Sequence[str]], what: str, ratio: bool, difference: bool) -> str:
    """From the least to the most, and where."""
    if np.isnan(table).all():
        return what
    told = (
        "{:+.2f}×" if difference and ratio else "{:+.1f} points" if difference else "{:.2f}×" if ratio else "{:.0%}"
    ).format
    ends = [divmod(int(pick(table)), table.shape[1]) for pick in (np.nanargmin, np.nanargmax)]
    low, high = (f"{told(table[row, column])} in {roles[row][column]}" for row, column in ends)
    return f"{what}: from {low} to {high}"


def als_convergence(losses: Sequence[float], optimum: float, rank: int, provenance: str) -> go.Figure:
    """‖W − UVᵀ‖² / ‖W‖² after every round of alternating least squares, above the SVD's optimum."""
    rounds = list(range(1, len(losses) + 1))
    figure = go.Figure()
    figure.add_scatter(x=rounds, y=list(losses), mode="lines+markers", line={"color": RANK, "width": 2.5}, marker={"size": 7},
                       hovertemplate="round %{x}: %{y:.5f}<extra></extra>")  # fmt: skip
    figure.add_shape(
        type="line", x0=0, x1=1, xref="x domain", y0=optimum, y1=optimum, line={"color": BASE, "width": 1.5}
    )
    figure.add_annotation(x=1, xref="x domain", y=optimum, text=f"SVD, the optimum: {optimum:.4f}", showarrow=False,
                          xanchor="right", yanchor="top", font={"color": BASE})  # fmt: skip
    _rounds_axis(figure, len(losses))
    spare = 0.18 * (losses[0] - optimum) or 0.01
    figure.update_yaxes(title="‖W − UVᵀ‖² / ‖W‖²", range=[optimum - spare, losses[0] + spare])
    above = losses[-1] / optimum - 1 if optimum > 0 else 0.0
    return styled(
        figure, f"Rank {rank} by ALS: {above:.2%} above the optimum after {len(losses)} rounds", provenance, height=330
    )


def als_excess(losses: Sequence[float], optimum: float, rate: float, provenance: str) -> go.Figure:
    """How far above the optimum each round still is, on a log scale, beside the rate that theory gives."""
    excess = [(index + 1, loss / optimum - 1) for index, loss in enumerate(losses) if optimum > 0 and loss > optimum]
    figure = go.Figure()
    figure.add_scatter(x=[one[0] for one in excess], y=[one[1] for one in excess], mode="lines+markers",
                       line={"color": RANK, "width": 2.5}, marker={"size": 7},
                       hovertemplate="round %{x}: %{y:.2e} above the optimum<extra></extra>")  # fmt: skip
    if excess and 0 < rate < 1:
        first, height = excess[-1]
        line = [
            (x, height * rate ** (x - first)) for x, y in excess if height * rate ** (x - first) <= 2 * excess[0][1]
        ]
        figure.add_scatter(x=[one[0] for one in line], y=[one[1] for one in line], mode="lines", hoverinfo="skip",
                           line={"color": BASE, "dash": "dash", "width": 1.5})  # fmt: skip
        figure.add_annotation(x=line[0][0], y=math.log10(line[0][1]), text=f"in the long run ×{rate:.3f} a round", showarrow=False,
                              xanchor="left", yanchor="bottom", font={"color": BASE})  # fmt: skip
    _rounds_axis(figure, len(losses))
    reach = [one[1] for one in excess] or [0.1, 1.0]
    ticks = spoken_ticks(0.8 * min(reach), 1.25 * max(reach))
    figure.update_yaxes(
        title="excess over the optimum", type="log", tickvals=ticks, ticktext=[f"{100 * one:.3g}%" for one in ticks]
    )
    fall = (excess[-1][1] / excess[0][1]) ** (1 / (len(excess) - 1)) if len(excess) > 1 else 1.0
    found = f"The excess falls to {fall:.2f}× a round on average" if len(excess) > 1 else "At the optimum, to rounding"
    return styled(figure, found, provenance, height=330)


def _rounds_axis(figure: go.Figure, rounds: int) -> None:
    figure.update_xaxes(title="round: V fixed, U solved; U fixed, V solved", dtick=max(1, -(-rounds // 10)),
                        range=[0.5, max(rounds, 2) + 0.5])  # fmt: skip
