"""Pictures of sensitivity: finite data, findings as titles, provenance, and cells that carry their role."""

import math

import numpy as np
import plotly.graph_objects as go
import pytest

from reparam_core.figures.sensitivity import Cost, estimate_against_measured, loss_curve, loss_map, nats

ROLES = [["layers.0.mlp.up", "layers.1.mlp.up"], ["", "layers.1.mlp.down"]]
COSTS = {"layers.0.mlp.up": Cost("layers.0.mlp.up", 0.01), "layers.1.mlp.up": Cost("layers.1.mlp.up", -0.001, -0.002, 0.001, True),
         "layers.1.mlp.down": Cost("layers.1.mlp.down", 0.03, 0.02, 0.04, True)}  # fmt: skip


def title(figure: go.Figure) -> str:
    """Finite numbers only, and provenance; the title in one line."""
    for trace in figure.data:
        for name in ("x", "y"):
            assert all(math.isfinite(one) for one in getattr(trace, name) if isinstance(one, int | float | np.number))
    assert figure.layout.meta["provenance"] == "from there"
    return str(figure.layout.title.text).replace("<br>", " ")


def test_the_map_names_what_costs_most_and_marks_what_was_measured() -> None:
    figure = loss_map(COSTS, ROLES, ["mlp.up", "mlp.down"], [0, 1], "layers.1.mlp.down", "3 bits", "from there")
    assert title(figure) == ("Each matrix alone at 3 bits: layers.1.mlp.down costs most, +0.030 (+0.020 to +0.040), measured, "
                             "75% of the sum over 3 matrices")  # fmt: skip
    cells, dots = ([one[0] for one in trace.customdata] for trace in figure.data[1:])
    assert cells == list(COSTS)
    assert dots == list(COSTS)[1:]
    (ring,) = figure.layout.shapes
    assert (ring.x0, ring.y0) == (0.5, 0.5)
    heat = figure.data[0]
    assert np.nanmin(heat.z) >= heat.zmin
    assert np.nanmax(heat.z) == pytest.approx(heat.zmax) == pytest.approx(math.log10(0.03))


@pytest.mark.parametrize("losses", [{}, {"layers.0.mlp.up": 0.0}, {"layers.0.mlp.up": -1e-3, "layers.1.mlp.up": -2e-3}, {"layers.0.mlp.up": 1e-9}])  # fmt: skip
def test_a_map_of_nothing_or_no_loss_is_drawn(losses: dict[str, float]) -> None:
    costs = {role: Cost(role, loss) for role, loss in losses.items()}
    figure = loss_map(costs, ROLES, ["mlp.up", "mlp.down"], [0, 1], "", "3 bits", "from there")
    assert title(figure).startswith("Each matrix alone at 3 bits")
    assert figure.data[0].zmin < figure.data[0].zmax


def test_estimates_stand_against_measurements() -> None:
    pairs = [(Cost(role, abs(one.loss) * 1.5), one) for role, one in COSTS.items() if one.measured]
    figure = estimate_against_measured(pairs, "layers.1.mlp.down", None, "bits", "from there")
    assert title(figure) == "2 cells measured"
    assert list(figure.data[0].marker.symbol) == ["triangle-down", "circle"]
    figure = estimate_against_measured(pairs, "", 0.934, "bits", "from there")
    assert title(figure) == "Estimates rank the cells with a correlation of 0.93 (Spearman, 2 cells measured)"


def test_a_curve_is_hollow_where_it_is_estimated() -> None:
    estimates = [Cost("4", 0.01, share=0.27), Cost("3", 0.05, share=0.2), Cost("2", 0.4, share=0.14)]
    figure = loss_curve(
        estimates, [Cost("3", 0.04, 0.03, 0.05, True, 0.2)], "layers.1.mlp.up", "3", "bits", "from there"
    )
    assert title(figure) == "layers.1.mlp.up: estimates hollow, measurements filled"
    assert [trace.marker.symbol for trace in figure.data] == ["circle-open", "circle"]
    assert list(figure.data[0].x) == [0.14, 0.2, 0.27]
    assert {one.text for one in figure.layout.annotations} >= {"2", "3", "4"}
    title(loss_curve([], [], "layers.1.mlp.up", "3", "bits", "from there"))


def test_what_is_no_loss_stands_at_the_bottom_of_the_curve_without_a_line() -> None:
    costs = [Cost("8", -1e-4, -3e-4, 1e-3, True, 0.5), Cost("4", 0.01, -0.002, 0.03, True, 0.27),
             Cost("3", 0.05, 0.04, 9.0, True, 0.2)]  # fmt: skip
    figure = loss_curve(costs[1:], costs, "layers.1.mlp.up", "3", "bits", "from there")
    title(figure)
    _, line, floor = figure.data
    bottom, top = (10.0**end for end in figure.layout.yaxis.range)
    assert list(line.y) == [0.05, 0.01, None]
    assert not line.connectgaps
    assert list(floor.x) == [0.5]
    assert list(floor.y) == [pytest.approx(bottom)]
    assert (floor.mode, list(floor.text), floor.marker.symbol) == ("markers+text", ["≤ 0"], "triangle-down")
    assert floor.customdata[0][1] == "−1.0·10⁻⁴ (−3.0·10⁻⁴ to +0.0010), measured, ≤ 0: no loss"
    assert [at - one for at, one in zip([0.05, 0.01], line.error_y.arrayminus, strict=False)] == pytest.approx(
        [0.04, bottom]
    )
    assert line.error_y.array[0] + 0.05 == pytest.approx(top), "a whisker ends where the axis does"


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0"), (1.94e-5, "+1.9·10⁻⁵"), (-2e-4, "−2.0·10⁻⁴"), (0.0123, "+0.012"), (0.1, "+0.10"), (-7.46, "−7.5"),
                         (3.0, "+3.0"), (12.3, "+12"), (99.7, "+100"), (1234.0, "+1,234"), (2e5, "+2.0·10⁵"), (math.inf, "+∞")]
)  # fmt: skip
def test_a_loss_is_told_in_two_digits_without_a_programmers_exponent(value: float, words: str) -> None:
    assert nats(value) == words


def test_a_classifiers_loss_is_counted_by_the_sentence() -> None:
    heat = loss_map(COSTS, ROLES, ["mlp.up", "mlp.down"], [0, 1], "", "3 bits", "from there", "sentence")
    assert heat.data[0].colorbar.title.text == "added loss, nats a sentence"
    pairs = [(Cost("a", 2.5e-4), Cost("a", -1e-5, -2e-5, 1e-5, True))]
    agreed = estimate_against_measured(pairs, "a", None, "bits", "from there", "sentence")
    assert agreed.layout.xaxis.title.text == "estimate: added loss, nats a sentence"


def test_small_losses_leave_their_axis_room_for_its_title_and_its_floor() -> None:
    pairs = [(Cost("a", 2.5e-4), Cost("a", -1e-5, -2e-5, 1e-5, True))]
    figure = estimate_against_measured(pairs, "a", None, "bits", "from there")
    longest = max(map(len, figure.layout.yaxis.ticktext))
    assert figure.layout.margin.l >= 7 * longest + 38
    assert figure.data[0].cliponaxis is False, "what was measured as no loss is seen whole on the floor"
