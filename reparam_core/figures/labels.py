"""Words beside points: off the points, off each other, inside the plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from reparam_core.figures.theme import GROUND, SIZE

Array = NDArray[np.float64]
GAPS = (8, 20, 36)  # pixels between a point and its words; from the second on a thin line joins them
SIDES = tuple((right, up) for right in (1, -1, 0) for up in (1, 0, -1) if right or up)
POINT = 6  # radius of a point
OUTSIDE, ON_WORDS, ON_POINT, ON_LINE, FAR = 50.0, 30.0, 10.0, 1.0, 0.05  # what a place costs; the last by the pixel
XANCHOR, YANCHOR = {1: "left", 0: "center", -1: "right"}, {1: "bottom", 0: "middle", -1: "top"}


@dataclass(frozen=True)
class Words:
    """A label, and the points beside any of which it may stand."""

    text: str
    colour: str
    anchors: Sequence[tuple[float, float]]  # as the axes count: logarithms on a log axis


@dataclass(frozen=True)
class Frame:
    """A plot's ranges, and the pixels that they take where it is smallest: in half a page."""

    x: Sequence[float]
    y: Sequence[float]  # logarithms on a log axis
    width: float = 400.0
    height: float = 180.0

    def pixels(self, points: Sequence[tuple[float, float]]) -> Array:
        """From the lower left corner, a row a point."""
        low, high = np.array([self.x[0], self.y[0]]), np.array([self.x[1], self.y[1]])
        return (np.array(points, float).reshape(-1, 2) - low) / (high - low) * (self.width, self.height)

    def holds(self, point: tuple[float, float]) -> bool:
        """Is it in sight?"""
        return self.x[0] <= point[0] <= self.x[1] and self.y[0] <= point[1] <= self.y[1]


def between(points: Sequence[tuple[float, float]], pieces: int = 12) -> list[tuple[float, float]]:
    """Places along the straight lines from point to point, for words to keep off."""
    steps = np.linspace(0, 1, pieces)
    return [(float(x0 + t * (x1 - x0)), float(y0 + t * (y1 - y0)))
            for (x0, y0), (x1, y1) in pairwise(points) for t in steps]  # fmt: skip


def label(figure: go.Figure, wanted: Sequence[Words], points: Sequence[tuple[float, float]],
          lines: Sequence[tuple[float, float]], frame: Frame) -> None:  # fmt: skip
    """Write each label at its cheapest place, the first ones first."""
    taken, crossed, written = frame.pixels(points), frame.pixels(lines), np.empty((0, 4))
    for words in wanted:
        anchors = [one for one in words.anchors if frame.holds(one)]
        if not anchors:
            continue
        places = [(anchor, side, gap) for gap in GAPS for anchor in range(len(anchors)) for side in SIDES]
        boxes = _boxes(frame.pixels(anchors), places, words.text)
        price = (OUTSIDE * _out(boxes, frame) + ON_WORDS * _overlaps(boxes, written) + ON_POINT * _holds(boxes, taken, POINT)
                 + ON_LINE * _holds(boxes, crossed, 2) + FAR * np.array([gap for *_, gap in places]))  # fmt: skip
        best = int(price.argmin())
        written = np.vstack([written, boxes[best]])
        _write(figure, words, anchors[places[best][0]], *places[best][1:])


def _boxes(anchors: Array, places: Sequence[tuple[int, tuple[int, int], int]], text: str) -> Array:
    """Left, bottom, right and top of the words at each place."""
    width, height = 0.56 * SIZE * len(text) + 4, 1.25 * SIZE
    side = np.array([side for _, side, _ in places], float)
    at = anchors[[anchor for anchor, *_ in places]] + side * np.array([[gap] for *_, gap in places])
    corner = at - (1 - side) / 2 * (width, height)
    return np.hstack([corner, corner + np.array([width, height])])


def _out(boxes: Array, frame: Frame) -> Array:
    """Does a box leave the plot?"""
    return ((boxes[:, :2] < -2).any(1) | (boxes[:, 2:] > (frame.width + 12, frame.height + 8)).any(1)).astype(float)


def _overlaps(boxes: Array, others: Array) -> Array:
    """How many of the others each box touches."""
    apart = (boxes[:, None, :2] > others[None, :, 2:]) | (boxes[:, None, 2:] < others[None, :, :2])
    return (~apart.any(2)).sum(1).astype(float)


def _holds(boxes: Array, points: Array, radius: float) -> Array:
    """How many of the points each box touches."""
    inside = (points > boxes[:, None, :2] - radius) & (points < boxes[:, None, 2:] + radius)
    return inside.all(2).sum(1).astype(float)


def _write(figure: go.Figure, words: Words, anchor: tuple[float, float], side: tuple[int, int], gap: int) -> None:
    """Beside its point, or at the end of a thin line."""
    right, up = side
    offset = ({"showarrow": False, "xshift": gap * right, "yshift": gap * up} if gap == GAPS[0] else
              {"showarrow": True, "ax": gap * right, "ay": -gap * up, "arrowhead": 0, "arrowwidth": 1,
               "arrowcolor": words.colour, "standoff": POINT})  # fmt: skip
    figure.add_annotation(x=anchor[0], y=anchor[1], text=words.text, xanchor=XANCHOR[right], yanchor=YANCHOR[up], bgcolor=GROUND,
                          borderpad=0, font={"color": words.colour, "size": SIZE}, **offset)  # fmt: skip
