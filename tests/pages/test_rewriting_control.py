"""What is rewritten first: a control with a state, a formula and a place in words, curves and undo."""

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components.history import REWRITE, controls_of
from pages.components.rows import axis_of, family_of, position_of
from pages.components.words import recipe_words
from reparam_core.recipes import Recipe
from tests.pages.conftest import Open, sentence, settled, whole


def control(page: AppTest) -> list[str]:
    """What the control offers; nothing where there is none."""
    return next((one.options for one in page.selectbox if one.key == REWRITE), [])


def test_the_control_sets_the_recipe_and_undo_takes_it_back(opened: Open) -> None:
    page = opened("trade_offs", bits="4")
    assert control(page) == ["nothing", "fold-norms", "rotate", "smooth"]
    page.selectbox(REWRITE).set_value("rotate")
    page = settled(page.run())
    assert not page.exception
    assert "with rotate first and all blocks at 4 bits" in sentence(page)
    assert any("R" in one.value and "H_{2^k}" in one.value for one in page.latex)
    next(one for one in page.button if one.key == "undo").click()
    page = settled(page.run())
    assert page.selectbox(REWRITE).value == "nothing"
    assert "rotate" not in sentence(page)


def test_a_rewrite_that_reads_text_brings_its_controls(opened: Open) -> None:
    few = {"calibration_sequences": "16", "calibration_length": "128"}
    page = opened("trade_offs", transform="smooth", bits="4", calibration_text="Training addresses", **few)
    assert not page.exception
    assert "with smooth (calibrated on training addresses) first and all blocks at 4 bits" in sentence(page)
    assert any("of the calibration text takes about" in one.value for one in page.caption)
    page.selectbox(REWRITE).set_value("rotate")
    page = settled(page.run())
    assert not any("of the calibration text takes about" in one.value for one in page.caption)
    assert not [one for one in page.selectbox if one.key == "calibration_text"]


def test_a_link_brings_the_rewrite_along(opened: Open) -> None:
    page = opened("trade_offs", transform="fold-norms")
    assert not page.exception
    assert "with fold-norms first" in sentence(page)


def test_what_stands_out_is_told_by_kind_of_matrix(opened: Open) -> None:
    page = whole(opened("trade_offs", transform="rotate", panel="By layer"))
    assert not page.exception
    (table,) = (one.value for one in page.dataframe if "weights_after" in one.value)
    row = table.set_index("kind").loc["mlp.down"]
    assert row["weights_after"] < row["weights_before"]


def test_a_model_without_rmsnorm_has_no_such_control(opened: Open) -> None:
    assert control(opened("trade_offs", model="embedded-encoder")) == []


@pytest.mark.parametrize(
    "recipe", ["rotate", "smooth + rtn:4g64", "fold-norms + rtn:4g64", "rotate + svd:0.5 + magnitude:0.5 + rtn:4g64"]
)
def test_controls_say_one_rewrite(recipe: str) -> None:
    controls = controls_of(Recipe.parse(recipe).canonical)
    assert controls is not None
    assert controls[REWRITE] == recipe.partition(" + ")[0]


@pytest.mark.parametrize(
    "recipe",
    [
        "fold-norms + rotate",
        '{"transform": [{"method": "rotate", "seed": 1}], "rules": []}',
        '{"transform": [{"method": "smooth"}], "rules": [], "calibration": {"sequences": 3}}',
    ],
)
def test_what_the_control_cannot_say_is_left_to_text(recipe: str) -> None:
    assert controls_of(Recipe.parse(recipe).canonical) is None


def test_rewritten_settings_have_curves_of_their_own() -> None:
    plain, turned, alone = (Recipe.parse(one).canonical for one in ("rtn:4g64", "rotate + rtn:4g64", "rotate"))
    family = family_of(turned, "bits")
    assert position_of(turned, family) == 4
    assert position_of(plain, family) is None
    assert position_of(turned, family_of(plain, "bits")) is None
    assert "after rotate" in family.along.where
    assert position_of(alone, family_of(Recipe.parse("rotate + magnitude:0.5").canonical, "sparsity")) == 0
    assert position_of("base", family_of(Recipe.parse("rotate + magnitude:0.5").canonical, "sparsity")) is None
    assert (axis_of(alone), axis_of(turned), axis_of("base")) == ("transform", "bits", "base")


def test_a_rewrite_fitted_to_another_text_is_of_another_curve() -> None:
    def said(steps: dict[str, Any], text: str) -> str:
        own = {"transform": [{"method": "smooth"}], "rules": [steps] if steps else [], "calibration": {"text": text}}
        return Recipe.parse(own).canonical

    half = {"sparsity": {"method": "magnitude", "fraction": 0.5}}
    family = family_of(said(half, "mixture"), "sparsity")
    assert position_of(said(half, "mixture"), family) == 50
    assert position_of(said({}, "mixture"), family) == 0
    assert position_of(said(half, "addresses-train"), family) is None
    assert position_of(said({}, "addresses-train"), family) is None


def test_words_say_what_comes_first() -> None:
    assert recipe_words("rotate") == "with rotate first"
    assert recipe_words("rotate + rtn:4").startswith("with rotate first and all blocks at 4 bits")
