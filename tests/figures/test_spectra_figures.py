"""Pictures of spectra: finite data, findings as titles, provenance, and a cell that carries its role."""

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from reparam_core.figures.spectra import als_convergence, als_excess, rank_map, spectra_by_depth, spectrum

SIGMA = [4.0, 2.0, 1.0, 0.5, 0.0]
LOSSES = [(1, 60.0, 55.0, 66.0), (2, 40.0, 39.0, 41.0), (4, 36.0, None, None)]


def checked(figure: go.Figure) -> str:
    """Finite numbers only, with title and provenance; returns the title in one line."""
    for trace in figure.data:
        for name in ("x", "y"):
            values = [one for one in getattr(trace, name) if isinstance(one, int | float | np.number)]
            assert all(math.isfinite(one) for one in values)
    assert figure.layout.meta["provenance"] == "from there"
    return str(figure.layout.title.text).replace("<br>", " ")


@pytest.mark.parametrize("losses", [(), LOSSES, LOSSES[:2]])
@pytest.mark.parametrize("after", [None, [3.0, 1.0, 1e-9, 0.0, 0.0]])
def test_the_spectrum_says_what_the_cut_keeps(losses: Any, after: Any) -> None:
    figure = spectrum(SIGMA, 2, 1.5, 3, "from there", name="layers.0.mlp.up", random=[1.5, 1, 0.8, 0.5, 0.1], after=after,
                      losses=losses, base=35.0)  # fmt: skip
    title = checked(figure)
    assert title.startswith("layers.0.mlp.up cut at rank 2 of 5 keeps 94.1% of the energy; relative error 24.3%")
    assert title.endswith("perplexity 35 → 40") == bool(losses)
    assert {one.text for one in figure.layout.annotations} >= {"cut 2", "break-even 3", "random-matrix edge", "energy",
                                                            "a random matrix", "this matrix" if after is None else "before"}  # fmt: skip


def test_no_two_lines_of_a_spectrum_look_alike() -> None:
    figure = spectrum(
        SIGMA, 2, 1.5, 3, "from there", random=[1.5, 1, 0.8, 0.5, 0.1], after=[3.0, 1.0], losses=LOSSES, base=35.0
    )
    level = [one for one in figure.layout.shapes if one.type == "line" and one.y0 == 1.5]
    dashes = [one.line.dash for one in (*figure.data, *level)]
    assert len(set(dashes)) == len(dashes) == 6


@pytest.mark.parametrize(("cut", "even"), [(1, 3), (3, 3), (5, 3), (2, 5)])
def test_cut_and_break_even_are_named_on_sides_of_their_own(cut: int, even: int) -> None:
    figure = spectrum(SIGMA, cut, 1.5, even, "from there")
    sides = {
        one.text.split()[0]: one.xanchor for one in figure.layout.annotations if "cut" in one.text or "even" in one.text
    }
    assert sides == ({"cut": "left", "break-even": "right"} if cut >= even else {"cut": "right", "break-even": "left"})


@pytest.mark.parametrize("smallest", [2.0, 1e-2, 1e-9])
def test_the_axis_of_singular_values_has_few_ticks_that_people_say(smallest: float) -> None:
    axis = spectrum([4.0, 3.0, smallest], 1, 1.5, 3, "from there").layout.yaxis
    assert 1 <= len(axis.tickvals) <= 5
    assert all("e" not in one for one in axis.ticktext)


def test_a_labelled_score_is_told_in_per_cent() -> None:
    figure = spectrum(SIGMA, 2, 1.5, 3, "from there", losses=[(2, 0.75, 0.7, 0.8)], base=0.8, score="accuracy")
    assert checked(figure).endswith("accuracy 80.0% → 75.0%")
    assert figure.layout.yaxis3.type == "linear"


def test_an_empty_matrix_is_drawn_as_nothing() -> None:
    checked(spectrum([0.0, 0.0], 1, 0.0, 1, "from there"))


@pytest.mark.parametrize("chosen", [None, 1])
def test_spectra_over_depth_name_the_flattest_and_the_steepest_layer(chosen: int | None) -> None:
    spectra = [[1.0, 0.9, 0.8, 0.7], [1.0, 0.4, 0.2, 0.1], [2.0, 1.2, 0.9, 0.1]]
    figure = spectra_by_depth(spectra, [0, 1, 2], "mlp.up", chosen, "from there")
    title = checked(figure)
    assert title == "mlp.up: 4 directions are at least half as strong as the first in layer 0, only 1 in layer 1"
    labels = {one.text for one in figure.layout.annotations}
    assert {"layer 0", "layer 2"} <= labels
    assert ("layer 1" in labels) == (chosen == 1)


def test_one_layer_is_not_compared_with_itself() -> None:
    found = checked(spectra_by_depth([[1.0, 0.9, 0.1]], [0], "mlp.up", 0, "from there"))
    assert found == "mlp.up: 2 directions are at least half as strong as the first"


def test_a_layer_whose_spectrum_ends_below_the_axis_is_named_where_it_is_seen() -> None:
    figure = spectra_by_depth([[1.0, 0.9, 0.8, 0.7], [1.0, 0.5, 1e-6, 1e-7]], [0, 1], "mlp.up", None, "from there")
    (named,) = [one for one in figure.layout.annotations if one.text == "layer 1"]
    assert figure.layout.yaxis.range[0] < named.y


@pytest.mark.parametrize(("ratio", "difference"), [(False, False), (True, False), (False, True)])
def test_a_map_tells_its_ends_and_every_cell_carries_its_role(ratio: bool, difference: bool) -> None:
    roles = [["layers.0.mlp.up", "layers.1.mlp.up"], ["", "layers.1.mlp.down"]]
    values = {"layers.0.mlp.up": 0.25, "layers.1.mlp.up": 0.5, "layers.1.mlp.down": 0.75}
    figure = rank_map(values, roles, ["mlp.up", "mlp.down"], [0, 1], "layers.1.mlp.up", "Entropy rank", "from there",
                      ratio=ratio, difference=difference)  # fmt: skip
    title = checked(figure)
    least = "+25.0 points" if difference else "0.25×" if ratio else "25%"
    assert title.startswith(f"Entropy rank: from {least} in layers.0.mlp.up to ")
    assert title.endswith("in layers.1.mlp.down")
    assert [one[0] for one in figure.data[1].customdata] == ["layers.0.mlp.up", "layers.1.mlp.up", "layers.1.mlp.down"]
    (ring,) = figure.layout.shapes
    assert (ring.x0, ring.y0) == (0.5, -0.5)
    if ratio or difference:
        middle = 0 if difference else 1
        assert figure.data[0].zmax - middle == pytest.approx(middle - figure.data[0].zmin)


def test_a_map_that_fills_in_has_its_final_shape_and_no_click_on_what_is_missing() -> None:
    roles = [["layers.0.mlp.up", "layers.1.mlp.up"]]
    figure = rank_map({"layers.0.mlp.up": 0.25}, roles, ["mlp.up"], [0, 1], "", "Entropy rank", "from there")
    assert checked(figure) == "Entropy rank: from 25% in layers.0.mlp.up to 25% in layers.0.mlp.up"
    assert list(figure.layout.xaxis.range) == [-0.5, 1.5]
    assert [one[0] for one in figure.data[1].customdata] == ["layers.0.mlp.up"]


def test_als_says_how_far_above_the_optimum_it_ends_and_how_fast_it_falls() -> None:
    losses = [0.4, 0.22, 0.202]
    assert (
        checked(als_convergence(losses, 0.2, 8, "from there"))
        == "Rank 8 by ALS: 1.00% above the optimum after 3 rounds"
    )
    figure = als_excess(losses, 0.2, 0.5, "from there")
    assert checked(figure) == "The excess falls to 0.10× a round on average"
    assert list(figure.data[0].y) == pytest.approx([1.0, 0.1, 0.01])


@pytest.mark.parametrize("losses", [[0.0], [0.2]])
def test_als_at_the_optimum_says_so(losses: list[float]) -> None:
    assert checked(als_excess(losses, losses[0], 0.0, "from there")) == "At the optimum, to rounding"
    checked(als_convergence(losses, losses[0], 8, "from there"))
