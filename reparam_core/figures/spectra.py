"""Singular spectra, ranks over layers, and how alternating least squares converges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from reparam_core.figures.labels import Frame, Words, between, label
from reparam_core.figures.theme import (
    BASE,
    GROUND,
    INK,
    RANK,
    RING,
    RING_TEXT,
    SPARSITY,
    log_axis,
    room_for,
    share_axis,
    spoken,
    spoken_ticks,
    styled,
    with_sign,
)

NOTHING = 1e-6  # times σ₁: below it a singular value is rounding
ENERGY_TOP = 1.02  # end of the axis of energy
LOSS_SHARE = 0.26  # of the height, where there is a loss to show
CELL = 34  # pixels of a row of the map
DEPTH = (0.32, 0.75)  # of a sequential scale that reads on white and on black, first layer to last
DASHES = {
    "random": "dot",
    "energy": "8px,2px,2px,2px",
    "edge": "14px,5px",
    "after": "dash",
    "between": "4px,4px",
}  # no two alike
FEW = 12  # layers up to which a cell has room for its number
Losses = Sequence[tuple[int, float, float | None, float | None]]  # rank, value, 95 % interval


def spectrum(
    sigma: Sequence[float], cut: int, edge: float, even: int, provenance: str, *, name: str = "",
    random: Sequence[float] = (), after: Sequence[float] | None = None, after_colour: str = SPARSITY,
    losses: Losses = (), base: float = math.nan, score: str = "perplexity",
) -> go.Figure:  # fmt: skip
    """Singular values on a log scale with cumulative energy, the cut, break-even, the random-matrix edge; loss below."""
    energy = np.cumsum(np.square(sigma)) / (np.sum(np.square(sigma)) or 1.0)
    spectra: list[tuple[str, Sequence[float], dict[str, Any]]] = [
        ("a random matrix", random, {"color": BASE, "dash": DASHES["random"], "width": 1.5}),
        ("before" if after else "this matrix", sigma, {"color": RANK, "width": 2.5}),
        ("after", after or (), {"color": after_colour, "dash": DASHES["after"], "width": 2.5}),
    ]
    kept = [
        (told, [one for one in values if one > NOTHING * max(values)], line) for told, values, line in spectra if values
    ]
    figure = go.Figure()
    for told, values, line in kept:
        figure.add_scatter(x=list(range(1, len(values) + 1)), y=values, mode="lines", line=line, name=told,
                           hovertemplate=told + " σ%{x} = %{y:.3g}<extra></extra>")  # fmt: skip
    figure.add_scatter(x=list(range(1, len(sigma) + 1)), y=energy, mode="lines", yaxis="y2", name="energy",
                       line={"color": INK, "dash": DASHES["energy"], "width": 1.5},
                       hovertemplate="energy up to %{x}: %{y:.1%}<extra></extra>")  # fmt: skip
    _references(figure, len(sigma), cut, edge, even)
    seen = [one for one in (*(one for _, values, _ in kept for one in values), edge) if one > 0] or [0.1, 1.0]
    _spectrum_axes(figure, len(sigma), (0.85 * min(seen), 1.18 * max(seen)), LOSS_SHARE + 0.08 if losses else 0.0)
    _name_lines(figure, [(told, str(line["color"]), values) for told, values, line in kept], energy.tolist(), edge)
    if losses:
        _loss_panel(figure, losses, base, score, len(sigma))
    found = _kept_words(name, cut, energy.tolist()) + _score_words(losses, cut, base, score)
    return styled(figure, found.strip(), provenance, height=440, wide=True, right=84, above=16)


def _kept_words(name: str, cut: int, energy: Sequence[float]) -> str:
    """What the cut keeps, and how far it is from the matrix."""
    error = math.sqrt(max(0.0, 1 - energy[cut - 1]))
    return f"{name} cut at rank {cut} of {len(energy)} keeps {energy[cut - 1]:.1%} of the energy; relative error {error:.1%}"


def _score_words(losses: Losses, cut: int, base: float, score: str) -> str:
    """What the model scores at this cut, where that is known."""
    here = next((value for rank, value, _, _ in losses if rank == cut), None)
    told = "{:.1%}".format if score == "accuracy" else spoken
    return f"; {score} {told(base)} → {told(here)}" if here is not None else ""


def _spectrum_axes(figure: go.Figure, full: int, reach: tuple[float, float], bottom: float) -> None:
    """Singular values on the left, energy on the right, over one axis of ranks."""
    figure.update_layout(
        yaxis={"title": "singular value σ", "domain": [bottom, 1], **log_axis(*reach, 5)},
        yaxis2={"overlaying": "y", "side": "right", "range": [0, ENERGY_TOP], "tickvals": [0, 0.25, 0.5, 0.75, 1], "tickformat": ".0%",
                "tickmode": "array", "title": {"text": "cumulative energy", "standoff": 12}, "showgrid": False})  # fmt: skip
    figure.update_xaxes(
        title="rank: singular values in falling order", range=[0, full * 1.01], anchor="free", position=0
    )


def _name_lines(figure: go.Figure, spectra: Sequence[tuple[str, str, Sequence[float]]], energy: Sequence[float],
                edge: float) -> None:  # fmt: skip
    """A direct label at each curve and at the random-matrix edge, off all of them."""
    frame = Frame(figure.layout.xaxis.range, figure.layout.yaxis.range, 600, 130)
    low, high = frame.y
    drawn = [
        (told, colour, [(rank + 1.0, math.log10(one)) for rank, one in enumerate(values)])
        for told, colour, values in spectra
    ]
    drawn.append(
        ("energy", INK, [(rank + 1.0, low + one / ENERGY_TOP * (high - low)) for rank, one in enumerate(energy)])
    )
    if edge > 0:
        drawn.append(
            ("random-matrix edge", BASE, [(share * len(energy), math.log10(edge)) for share in np.linspace(0, 1, 40)])
        )
    lines = [(told, colour, places[:: max(1, len(places) // 40)]) for told, colour, places in drawn]
    label(
        figure, [Words(*line) for line in lines], [], [one for *_, places in lines for one in between(places, 4)], frame
    )


def _named(figure: go.Figure, x: float, y: float, text: str, colour: str, **place: object) -> None:
    """A direct label; what runs behind it gives way. On a log axis it is placed by its logarithm, unlike a line."""
    figure.add_annotation(x=x, y=y, text=text, bgcolor=GROUND, borderpad=0, font={"color": colour},
                          **{"showarrow": False} | place)  # fmt: skip


def _references(figure: go.Figure, full: int, cut: int, edge: float, even: int) -> None:
    """The cut and break-even, upright, each named above the plot on its own side; the random-matrix edge, level."""
    figure.add_vrect(x0=even, x1=full, fillcolor=BASE, opacity=0.08, line_width=0, layer="below")
    for x, colour, dash, text, words, outward in (
        (even, BASE, "dash", f"break-even {even}", BASE, even > cut),
        (cut, RING, "solid", f"cut {cut}", RING_TEXT, cut >= even),
    ):
        figure.add_vline(x=x, line={"color": colour, "width": 2, "dash": dash})
        _named(figure, x, 1.0, text, words, yref="y domain", yanchor="bottom", xanchor="left" if outward else "right",
               xshift=4 if outward else -4)  # fmt: skip
    if edge > 0:
        figure.add_shape(type="line", x0=0, x1=1, xref="x domain", y0=edge, y1=edge,
                         line={"color": BASE, "width": 1.5, "dash": DASHES["edge"]})  # fmt: skip


def _loss_panel(figure: go.Figure, losses: Losses, base: float, score: str, full: int) -> None:
    """What the model scores where this matrix alone is cut, with 95 % intervals."""
    ranks, values = [one[0] for one in losses], [one[1] for one in losses]
    known = [(value, low, high) for _, value, low, high in losses if low is not None and high is not None]
    whole = len(known) == len(losses)
    bars = {"type": "data", "symmetric": False, "array": [high - value for value, _, high in known],
            "arrayminus": [value - low for value, low, _ in known], "width": 0} if whole else None  # fmt: skip
    figure.add_scatter(x=ranks, y=values, mode="lines+markers", yaxis="y3", error_y=bars, marker={"size": 7},
                       line={"color": RANK, "dash": DASHES["between"], "width": 1.5},
                       hovertemplate="rank %{x}: " + score + " %{y:.4g}<extra></extra>")  # fmt: skip
    log = score == "perplexity"
    low, high = min(base, *values), max(base, *values)
    room = max(0.15 * (high - low), 0.01 * base)
    figure.add_shape(type="line", x0=0, x1=full, yref="y3", y0=base, y1=base, line={"color": BASE, "width": 1.5})
    _named(figure, full, math.log10(base) if log else base, "base", BASE, yref="y3", xanchor="right", yanchor="bottom")
    scale = (
        log_axis(max(low - room, 0.5 * low), high + room, 3)
        if log
        else {"type": "linear", **share_axis([low, high]), "dtick": None, "nticks": 4}
    )
    figure.update_layout(yaxis3={"domain": [0, LOSS_SHARE], "title": score, "anchor": "x", **scale})


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
    lowest = max(min((sigma[-1] / sigma[0] for sigma in spectra), default=1.0), 1e-3)
    marked = {0: colours[0], len(layers) - 1: colours[len(layers) - 1]}
    marked |= {index: RING for index, layer in enumerate(layers) if layer == chosen}
    for order, (index, colour) in enumerate(sorted(marked.items())):
        sigma = [value / spectra[index][0] for value in spectra[index]]
        seen = sum(value > 1.5 * lowest for value in sigma)
        at = max(0, min(int((0.3 + 0.2 * order) * len(sigma)), seen - 1))
        _named(figure, (at + 1) / len(sigma), math.log10(max(sigma[at], lowest)), f"layer {layers[index]}", INK, showarrow=True,
               arrowcolor=colour, arrowwidth=2, ax=28, ay=_away(spectra, index, at))  # fmt: skip
    figure.update_yaxes(title="σᵢ / σ₁", **log_axis(0.94 * lowest, 1.12))
    figure.update_xaxes(title="i, as a share of full rank", tickformat=".0%", range=[0, 1.01])
    return styled(figure, _half_as_strong(spectra, layers, kind), provenance, height=380, wide=True)


def _half_as_strong(spectra: Sequence[Sequence[float]], layers: Sequence[int], kind: str) -> str:
    """Which layer's spectrum is flattest, and which steepest."""
    half = [sum(value > 0.5 * sigma[0] for value in sigma) for sigma in spectra]
    most, least = layers[int(np.argmax(half))], layers[int(np.argmin(half))]
    found = f"{kind}: {max(half)} {'direction is' if max(half) == 1 else 'directions are'} at least half as strong as the first"
    if max(half) == min(half):
        return found if len(layers) == 1 else f"{found} in every layer"
    return f"{found} in layer {most}, only {min(half)} in layer {least}"


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
    told = _told(ratio, difference)
    figure = go.Figure(go.Heatmap(
        z=table, x=list(layers), y=list(kinds), xgap=1, ygap=1, hoverinfo="skip", texttemplate="%{text}" if len(layers) <= FEW else None,
        text=[["" if math.isnan(one) else told(one) for one in row] for row in table],
        colorbar={"tickformat": ".2~f" if ratio or difference else ".0%", "thickness": 12}, **scale))  # fmt: skip
    _clickable(figure, values, roles, kinds, layers, what, "" if ratio or difference else "%")
    for row, names in enumerate(roles):
        if chosen in names:
            figure.add_shape(type="rect", x0=layers[list(names).index(chosen)] - 0.5, x1=layers[list(names).index(chosen)] + 0.5,
                             y0=row - 0.5, y1=row + 0.5, line={"color": RING, "width": 3})  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    figure.update_xaxes(
        title="layer", dtick=1 if len(layers) <= 16 else 2, showgrid=False, range=[layers[0] - 0.5, layers[-1] + 0.5]
    )
    figure.update_layout(hoverdistance=60)
    return styled(
        figure,
        _range_told(table, roles, what, ratio, difference),
        provenance,
        height=CELL * len(kinds) + 130,
        wide=True,
        left=room_for(kinds),
    )


def _told(ratio: bool, difference: bool) -> Callable[[float], str]:
    """A cell's number as it is said, with a minus as it is printed; what does not move has no sign."""
    form = "{:.1f}" if difference and not ratio else "{:.2f}" if difference or ratio else "{:.0%}"

    def told(value: float) -> str:
        size = form.format(abs(value))
        moved = difference and float(size) != 0
        return with_sign(value, size) if moved else size

    return told


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
    told, unit = _told(ratio, difference), "×" if ratio else " points" if difference else ""
    ends = [divmod(int(pick(table)), table.shape[1]) for pick in (np.nanargmin, np.nanargmax)]
    low, high = (f"{told(table[row, column])}{unit} in {roles[row][column]}" for row, column in ends)
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
        x, y = line[len(line) // 2]
        above = y > dict(excess)[x]
        _named(figure, x, math.log10(y), f"in the long run ×{rate:.3f} a round", BASE, xanchor="left" if above else "right",
               yanchor="bottom" if above else "top", xshift=6 if above else -6)  # fmt: skip
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
