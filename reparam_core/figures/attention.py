"""Attention maps: thumbnails of every head, one head large, and a number of every head over layers and heads."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from numpy.typing import NDArray
from PIL import Image
from plotly.colors import sample_colorscale
from torch import Tensor

from reparam_core.figures.theme import INK, RING, room_for, styled, with_sign
from reparam_core.measure.attention import HeadChange, View, colour_limit, habit, is_causal, signed_root

SEQUENTIAL = "Viridis"
LESS, MORE = (46, 122, 194), (214, 96, 50)  # blue and orange: told apart by colour-blind eyes, on light and on dark
DIVERGING = [[0, f"rgba{(*LESS, 1)}"], [0.5, f"rgba{(*LESS, 0)}"], [0.5, f"rgba{(*MORE, 0)}"], [1, f"rgba{(*MORE, 1)}"]]
ROWS, COLUMNS = 20, 28  # tokens that fit on an axis
TOKEN_SIZE = 11
LONGEST_LABEL = 11  # characters of a token that are shown
NUMBERED = 96  # heads up to which each cell holds its number
NAMED = 0.25  # share of the weight from which a place is worth naming
Picture = NDArray[np.uint8]  # (layers, heads, height, width); 0 nothing to see, else 1 to 255


def palette(signed: bool) -> NDArray[np.uint8]:
    """(256, 4) colours with opacity: 0 is clear; differences fade out towards zero, so that they suit any ground."""
    colours = np.zeros((256, 4), np.uint8)
    if signed:
        place = (np.arange(1, 256) - 128) / 127
        colours[1:, :3] = np.where(place[:, None] < 0, LESS, MORE)
        colours[1:, 3] = np.round(255 * np.abs(place).clip(0, 1))
    else:
        sampled = sample_colorscale(SEQUENTIAL, np.linspace(0, 1, 255).tolist(), colortype="tuple")
        colours[1:, :3] = np.round(255 * np.array(sampled))
        colours[1:, 3] = 255
    return colours


def sprite(tiles: Picture, signed: bool, rim: int = 0) -> str:
    """All thumbnails in one PNG as a data address, layers downwards and heads to the right, with a clear rim."""
    padded = np.pad(tiles, ((0, 0), (0, 0), (rim, rim), (rim, rim)))
    layers, heads, height, width = padded.shape
    picture = Image.fromarray(padded.transpose(0, 2, 1, 3).reshape(layers * height, heads * width), "P")
    picture.putpalette(palette(signed).tobytes(), "RGBA")
    written = io.BytesIO()
    picture.save(written, "PNG", transparency=palette(signed)[:, 3].tobytes())
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()


def grid_figure(change: HeadChange, view: View, provenance: str) -> go.Figure:
    """Every head of every layer as one picture for a slide; the longer of the two runs to the right."""
    tiles, names = change.thumbnails[view].numpy(), ["layer", "head"]
    if tiles.shape[0] > tiles.shape[1]:
        tiles, names = tiles.swapaxes(0, 1), names[::-1]
    rim = max(1, max(tiles.shape[2:]) // 24)
    figure = go.Figure(go.Image(source=sprite(tiles, view == "difference", rim), hoverinfo="skip"))
    axes = zip(names, tiles.shape[:2], tiles.shape[2:], strict=True)
    down, right = ({"title": name, "tickvals": [index * (side + 2 * rim) + (side - 1) / 2 + rim for index in range(count)],
                    "ticktext": [str(index) for index in range(count)]} for name, count, side in axes)  # fmt: skip
    figure.update_yaxes(**down, scaleanchor=False).update_xaxes(**right)
    styled(figure, grid_title(change, view), provenance, height=480)
    return figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)


def grid_title(change: HeadChange, view: View) -> str:
    """What the thumbnails show of all heads together."""
    layers, heads = change.divergence.shape
    if view == "difference":
        return most_moved_words(change)
    entropy = change.entropy[view]
    return (f"{view.capitalize()}: {layers} layers × {heads} heads, from the narrowest ({float(entropy.min()):.1f} bits) "
            f"to the widest ({float(entropy.max()):.1f} bits)")  # fmt: skip


def bits(value: float) -> str:
    """Two significant digits: an effect that is small is not none."""
    return f"{value:.2g}" if value >= 1e-4 else "below 0.0001" if value > 0 else "0"


def most_moved_words(change: HeadChange) -> str:
    """Which head moved most, and how the others did."""
    layer, head = most_moved(change)
    most, middle = float(change.divergence.max()), float(change.divergence.median())
    if most == 0:
        return "No head moves"
    return f"Layer {layer} head {head} moves most: {bits(most)} bits; half of the {change.divergence.numel()} heads less than {bits(middle)}"


def most_moved(change: HeadChange) -> tuple[int, int]:
    """Layer and head of the largest divergence."""
    layer, head = divmod(int(change.divergence.argmax()), change.divergence.shape[1])
    return layer, head


def head_figure(
    change: HeadChange, view: View, selected: tuple[int, int], provenance: str, height: int = 440
) -> go.Figure:
    """One head large: a row is a query and says what share of its attention each key gets."""
    signed = view == "difference"
    weights, limit = _weights(change, view, selected)
    end = math.sqrt(limit)
    scale = {"colorscale": DIVERGING, "zmin": -end} if signed else {"colorscale": SEQUENTIAL, "zmin": 0}
    queries, keys = _places(change.queries), _places(change.keys)
    number = "%{customdata:+.3f}" if signed else "%{customdata:.3f}"
    figure = go.Figure(go.Heatmap(
        z=np.where(change.seen(selected[0]).numpy(), signed_root(weights).numpy(), np.nan), x=keys, y=queries, zmax=end, **scale,
        customdata=weights.numpy(), colorbar=_colour_bar(limit, signed), hoverongaps=False,
        hovertemplate=f"%{{y}} → %{{x}}: {number}<extra></extra>"))  # fmt: skip
    left, below = _token_axes(figure, change)
    styled(figure, head_title(change, view, selected), provenance, height=height, left=left, below=below)
    axis = {"showgrid": False, "tickfont_size": TOKEN_SIZE}
    return figure.update_xaxes(**axis).update_yaxes(**axis)


def _token_axes(figure: go.Figure, change: HeadChange) -> tuple[int, int]:
    """Tokens on both axes, thinned out where they are many; the pixels that they take, left and below."""
    rows, columns = _ticks(change.queries, ROWS), _ticks(change.keys, COLUMNS)
    upright, level = (
        _axis_words("query: what looks", change.queries, ROWS),
        _axis_words("key: what is looked at", change.keys, COLUMNS),
    )
    figure.update_xaxes(**columns, type="category", tickangle=-90, title=" ".join(level))
    figure.update_yaxes(**rows, type="category", autorange="reversed", title="<br>".join(upright))
    left, below = (room_for(map(html.unescape, ticks["ticktext"]), TOKEN_SIZE) for ticks in (rows, columns))
    return left + 4 + 18 * len(upright), below + 24


def _weights(change: HeadChange, view: View, selected: tuple[int, int]) -> tuple[Tensor, float]:
    """What is drawn, and where its colours end: at the same weight before and after."""
    before, after = change.before[selected].float(), change.after[selected].float()
    if view == "difference":
        return after - before, max(float((after - before).abs().max()), 1e-6)
    limit = colour_limit(torch.cat([one[change.seen(selected[0])] for one in (before, after)]))
    return {"before": before, "after": after}[view], float(limit)


def head_title(change: HeadChange, view: View, selected: tuple[int, int]) -> str:
    """What one head looks at most, or how widely where that place has no name; as a difference, what moved most."""
    name, causal = f"layer {selected[0]} head {selected[1]}", is_causal(change.visible)
    if view == "difference":
        return _moved_words(change, selected)
    weights, entropy = (
        {"before": change.before, "after": change.after}[view][selected],
        float(change.entropy[view][selected]),
    )
    place, share = habit(weights, causal)
    if share < NAMED:
        return f"{view.capitalize()}, {name} spreads over {2**entropy:.1f} keys on average ({entropy:.1f} bits)"
    return f"{view.capitalize()}, {name} gives {share:.0%} of its weight to {place} ({entropy:.1f} bits)"


def _moved_words(change: HeadChange, selected: tuple[int, int]) -> str:
    name, moved = f"Layer {selected[0]} head {selected[1]}", float(change.divergence[selected])
    difference = change.after[selected].float() - change.before[selected].float()
    if moved == 0:
        return f"{name} does not move: the setting gives the same weights"
    query, key = divmod(int(difference.abs().argmax()), difference.shape[1])
    return (f"{name} moves by {bits(moved)} bits, most where “{shown(change.queries[query].strip())}” looks at "
            f"“{shown(change.keys[key].strip())}” ({_signed(float(difference[query, key]))})")  # fmt: skip


def _places(tokens: Sequence[str]) -> list[str]:
    """A token that occurs twice is two places: each carries its number."""
    return [f"{index} {shown(token, 30)}" for index, token in enumerate(tokens)]


def shown(token: str, most: int = LONGEST_LABEL) -> str:
    """A token as an axis has it: a leading space as a dot, line ends as an arrow, long ones cut, tags harmless."""
    text = token.replace("\n", "⏎").replace("\t", "⇥")
    text = f"·{text[1:]}" if text.startswith(" ") else text
    return html.escape(text if len(text) <= most else f"{text[: most - 1]}…", quote=False)


def _ticks(tokens: Sequence[str], most: int) -> dict[str, list[str]]:
    """The tokens on an axis, thinned out where they are many."""
    step = _step(tokens, most)
    return {"tickvals": _places(tokens)[::step], "ticktext": [shown(one) for one in tokens[::step]]}


def _step(tokens: Sequence[str], most: int) -> int:
    return math.ceil(len(tokens) / most)


def _axis_words(what: str, tokens: Sequence[str], most: int) -> list[str]:
    """What an axis holds, and that not every token is labelled, where that is so."""
    step = _step(tokens, most)
    nth = {2: "2nd", 3: "3rd"}.get(step, f"{step}th")
    return [what, f"(every {nth} token labelled)"] if step > 1 else [what]


def _colour_bar(limit: float, signed: bool) -> dict[str, Any]:
    """Ticks in weights, although the colours follow their roots."""
    steps = [limit * share for share in (0, 0.05, 0.25, 0.5, 1)]
    values = [-one for one in steps[:0:-1]] + steps if signed else steps
    text = [_signed(one) if signed and one else f"{one:.2g}" for one in values]
    if not signed and limit < 1:
        text[-1] = f"≥ {text[-1]}"
    return {"tickvals": [math.copysign(math.sqrt(abs(one)), one) for one in values], "ticktext": text, "thickness": 10,
            "outlinewidth": 0, "xpad": 4}  # fmt: skip


def _signed(value: float) -> str:
    """Two digits with a sign."""
    return with_sign(value, f"{abs(value):.2g}")


def strip(values: Tensor, quantity: str, unit: str, selected: tuple[int, int], provenance: str,
          signed: bool = False) -> go.Figure:  # fmt: skip
    """A number of every head over layers and heads; the selected one ringed. The longer side runs to the right."""
    turned = values.shape[0] > values.shape[1]
    cells, (row, column) = (values.T, selected[::-1]) if turned else (values, selected)
    end = float(values.abs().max()) or 1.0
    scale = {"colorscale": DIVERGING, "zmin": -end} if signed else {"colorscale": "Cividis", "zmin": 0}
    down, right = ("head", "layer") if turned else ("layer", "head")
    number = "%{z:+.2f}" if signed else "%{z:.2f}"
    figure = go.Figure(go.Heatmap(
        z=cells.numpy(), **scale, zmax=end, xgap=1, ygap=1, texttemplate=number if values.numel() <= NUMBERED else None,
        textfont={"color": INK} if signed else None,  # a colour that fades out counts as dark to plotly, on any ground
        colorbar={"thickness": 10, "outlinewidth": 0, "xpad": 4},
        hovertemplate=f"{down} %{{y}}, {right} %{{x}}: {number} {unit}<extra></extra>"))  # fmt: skip
    figure.add_shape(type="rect", x0=column - 0.5, x1=column + 0.5, y0=row - 0.5, y1=row + 0.5,
                     line={"color": RING, "width": 3})  # fmt: skip
    steps = [math.ceil(side / 16) for side in cells.shape]
    figure.update_yaxes(title=down, autorange="reversed", dtick=steps[0]).update_xaxes(title=right, dtick=steps[1])
    styled(figure, strip_title(values, quantity, unit), provenance, height=360)
    return figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)


def strip_title(values: Tensor, quantity: str, unit: str) -> str:
    """Which head has most of it, which least, and the mean."""
    most, least = (divmod(int(one), values.shape[1]) for one in (values.argmax(), values.argmin()))
    if values.max() == values.min():
        return f"{quantity}: {_number(values.max())} {unit} in every head"
    return (f"{quantity}: from {_number(values.min())} (layer {least[0]} head {least[1]}) to {_number(values.max())} {unit} "
            f"(layer {most[0]} head {most[1]}), {_number(values.mean())} on average")  # fmt: skip


def _number(value: Tensor) -> str:
    """Of what is small two digits; with a minus as it is printed, not as it is typed."""
    size = abs(float(value))
    told = f"{size:.2f}" if size == 0 or size >= 0.095 else bits(size)
    return f"{'−' if value < 0 else ''}{told}"
