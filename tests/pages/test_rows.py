"""Points as charts take them: which settings make a curve, and where a chart's numbers come from."""

from typing import Any

import pytest

from pages.components.rows import (
    along,
    axes_of,
    axis_of,
    family_of,
    of_one_measure,
    position_of,
    provenance_of,
    row_of,
    scale_of,
    shown_for,
    through,
)
from reparam_core.models import load
from reparam_core.recipes import Recipe
from tests.pages.points import point


def canonical(recipe: str) -> str:
    return Recipe.parse(recipe).canonical


EVERY = ["base", "svd:0.5", "svd:0.2", "als:0.4", "svd:r8", "magnitude:0.5", "magnitude:0.9", "rtn:4g64", "rtn:3g64", "rtn:4",
         "rtn:3g64s", "svd:0.5 + rtn:4g64", '{"rules": [{"where": "*.mlp.*", "rank": {"method": "svd", "keep": 0.3}}]}',
         '{"rules": [{"rank": {"method": "als", "keep": 0.3, "iterations": 5}}]}',
         '{"rules": [{"rank": {"method": "svd", "keep": 0.3}}], "storage": "bfloat16"}']  # fmt: skip


@pytest.mark.parametrize(("current", "axis", "positions"), [
    ("svd:0.5", "rank", {20.0, 50.0}),
    ("als:0.4", "rank", {40.0}),
    ("svd:r8", "rank", {8.0}),
    ("base", "rank", {20.0, 50.0}),  # untouched on this axis: the sweep's curve
    ("rtn:4g64", "sparsity", {0.0, 50.0, 90.0}),  # whose end is the base
    ("rtn:3g64", "bits", {3.0, 4.0}),
    ("rtn:4", "bits", {4.0}),
    ("svd:0.5 + rtn:3g64s", "bits", {3.0}),
    (EVERY[12], "rank", {30.0}),
    (EVERY[13], "rank", {30.0}),
])  # fmt: skip
def test_a_curve_joins_settings_that_differ_in_position_alone(current: str, axis: str, positions: set[float]) -> None:
    rows = along(family_of(canonical(current), axis), [point(one) for one in EVERY], "perplexity")
    assert {row.position for row in rows} == positions
    assert len(rows) == len(positions)


def test_a_setting_of_the_curve_takes_its_place_before_the_base() -> None:
    family = family_of(canonical("base"), "sparsity")
    for order in ([point("base", 20.0), point("magnitude:0", 21.0)], [point("magnitude:0", 21.0), point("base", 20.0)]):
        assert [row.quality for row in along(family, order, "perplexity")] == [21.0]


def test_the_current_setting_is_marked_only_on_its_own_curve() -> None:
    assert position_of(canonical("svd:0.5"), family_of(canonical("svd:0.5"), "rank")) == 50
    assert position_of(canonical("base"), family_of(canonical("base"), "sparsity")) == 0
    assert position_of(canonical("base"), family_of(canonical("base"), "rank")) is None
    combined = canonical("svd:0.5 + rtn:4g64")
    assert position_of(combined, family_of(combined, "rank")) is None


def test_a_setting_of_several_steps_is_joined_with_what_differs_on_one_axis_alone() -> None:
    every = [*EVERY, "svd:0.2 + rtn:4g64", "svd:0.5 + rtn:3g64", "svd:0.5 + rtn:4g64s", "svd:r8 + rtn:4g64"]
    points, current = [point(one) for one in every], canonical("svd:0.5 + rtn:4g64")
    for axis, words, here, places in (("rank", "with 4 bits in groups of 64", 50, {50, 20}),
                                      ("bits", "with 50 % of full rank", 4, {4, 3})):  # fmt: skip
        found = through(current, axis, points, "perplexity")
        assert found is not None
        assert (found.words, found.current) == (words, here)
        assert {one.position for one in found.rows} == places
    assert through(current, "sparsity", points, "perplexity") is None
    assert through(canonical("svd:0.5"), "rank", points, "perplexity") is None


@pytest.mark.parametrize(("recipe", "axes", "hue"), [
    ("base", [], "base"), ("rtn:4", ["bits"], "bits"), ("svd:0.5 + rtn:4", ["rank", "bits"], "combined")])  # fmt: skip
def test_a_setting_has_its_axes_and_their_hue(recipe: str, axes: list[str], hue: str) -> None:
    assert (axes_of(canonical(recipe)), axis_of(canonical(recipe))) == (axes, hue)


@pytest.mark.parametrize(("recipe", "axis", "told"), [
    ("base", "rank", "all blocks (svd)"), ("rtn:3g32s", "bits", "all blocks (rtn, group 32, symmetric)"),
    (EVERY[12], "rank", "the MLP (svd)"), (EVERY[13], "rank", "all blocks (als, iterations 5)")])  # fmt: skip
def test_a_curve_says_what_its_settings_share(recipe: str, axis: str, told: str) -> None:
    assert family_of(canonical(recipe), axis).along.where == told


def read(recipe: str, **calibration: Any) -> str:
    """The recipe with another calibration."""
    return Recipe.parse(Recipe.parse(recipe).as_json() | {"calibration": calibration}).canonical


def test_a_curve_joins_only_what_is_calibrated_alike() -> None:
    every = ["base", "wanda:0.2", "wanda:0.5", "wanda:0.7@sequential", read("wanda:0.9", text="addresses-train")]
    points = [point(one) for one in every]
    places = {one: {row.position for row in along(family_of(canonical(one), "sparsity"), points, "perplexity")}
              for one in every[2:]}  # fmt: skip
    assert list(places.values()) == [{0.0, 20.0, 50.0}, {0.0, 70.0}, {0.0, 90.0}]
    assert family_of(canonical(every[3]), "sparsity").along.where == "all blocks (wanda, sequential)"


def test_patterns_have_a_curve_of_their_own_at_their_share_of_zeros() -> None:
    every = ["base", "magnitude:0.5", "magnitude:2:4", "magnitude:4:8", "magnitude:1:4", "wanda:2:4"]
    family = family_of(canonical("magnitude:2:4"), "sparsity")
    rows = along(family, [point(one) for one in every], "perplexity")
    assert sorted((row.short, row.position) for row in rows) == [
        ("base", 0.0), ("magnitude:1:4", 75.0), ("magnitude:2:4", 50.0), ("magnitude:4:8", 50.0)]  # fmt: skip
    assert (family.along.field, family.along.where) == ("fraction", "all blocks (magnitude, patterns)")


def test_intervals_stand_around_the_quality_itself() -> None:
    row = row_of(point("svd:0.5", 0.0, accuracy=0.3, accuracy_interval=(-0.15, -0.05)), "accuracy")
    assert (row.low, row.quality, row.high) == pytest.approx((0.25, 0.3, 0.35))
    assert (row.axis, row_of(point("base"), "perplexity").axis) == ("rank", "base")


def test_provenance_names_every_source_with_what_is_scored() -> None:
    masked = point("base", source="reviews", unit="masked token", answers=141, convention="15% of the positions")
    told = provenance_of(load("embedded-decoder"), [point("base"), masked])
    assert "moby-dick: 940 tokens, sequences of 48, every position but the first scored" in told
    assert "reviews: 141 masked tokens, 15% of the positions" in told
    assert "257" not in told


def test_sources_that_were_asked_alike_are_named_together() -> None:
    told = provenance_of(load("embedded-decoder"), [point("base"), point("base", source="addresses")])
    assert "moby-dick and addresses: 940 tokens, " in told
    assert told.count("every position") == 1


def test_a_measured_point_speaks_for_a_chart() -> None:
    estimate, measured = point("svd:0.5", final=False, answers=96), point("base")
    assert shown_for([estimate, measured]) is measured
    assert "estimate from 96 tokens" in provenance_of(load("embedded-decoder"), [shown_for([estimate])])


def test_provenance_says_what_is_calibrated_on_and_what_is_of_its_domain() -> None:
    model, both = load("embedded-decoder"), [point("base"), point("base", source="addresses")]
    assert "calibrated" not in provenance_of(model, both)
    told = provenance_of(model, both, read("wanda:0.5", sequences=32, length=256))
    assert "calibrated on 32 × 256 tokens of the mixture (in domain: addresses; out of it: moby-dick)" in told
    assert "calibrated on 64 × 512 tokens" in provenance_of(model, [point("gptq:4g64")])


def test_an_axis_has_one_measure_and_says_which() -> None:
    table, text = point("rtn:4", labelled=True, majority=0.5, unit="choice"), point("rtn:4")
    assert of_one_measure([[table], [text], [table]]) == [[table], [table]]
    assert of_one_measure([[text], [table]]) == [[text]]
    assert of_one_measure([]) == []
    assert scale_of(table, "accuracy").name == "right choices"
    assert scale_of(text, "accuracy").name == "next-token accuracy"
    assert scale_of(text, "perplexity").name == "perplexity"


def test_the_commonest_answer_is_drawn_beside_the_accuracy_of_a_table() -> None:
    known = point("rtn:4", labelled=True, majority=0.52, unit="sentence")
    assert scale_of(known, "accuracy").chance == 0.52
    assert scale_of(known, "perplexity").chance is scale_of(point("rtn:4"), "accuracy").chance is None
