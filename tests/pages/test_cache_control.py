"""How many bits keys and values have: a control with a state, a place in words, curves and undo."""

import pytest

from pages.components.history import CACHE, controls_of
from pages.components.rows import axis_of, family_of, position_of
from pages.components.words import recipe_words
from reparam_core.recipes import Recipe
from tests.pages.conftest import Open, sentence, settled


def test_the_control_sets_the_recipe_and_undo_takes_it_back(opened: Open) -> None:
    page = opened("trade_offs", cache="4")
    assert not page.exception
    assert "with keys and values at 4 bits in groups of 64" in sentence(page)
    page.selectbox(CACHE).set_value(2)
    page = settled(page.run())
    assert "keys and values at 2 bits" in sentence(page)
    next(one for one in page.button if one.key == "undo").click()
    page = settled(page.run())
    assert page.selectbox(CACHE).value == 4
    assert "keys and values at 4 bits" in sentence(page)


def test_an_encoder_has_no_such_control(opened: Open) -> None:
    page = opened("trade_offs", model="embedded-encoder")
    assert CACHE not in [one.key for one in page.selectbox]


@pytest.mark.parametrize(("recipe", "controls"), [
    ("cache:4g64", {"cache": 4}), ("rotate + cache:8g64", {"transform": "rotate", "cache": 8}), ("cache:4g32", None)])  # fmt: skip
def test_controls_say_what_they_can(recipe: str, controls: dict[str, object] | None) -> None:
    assert controls_of(Recipe.parse(recipe).canonical) == controls


def test_it_stands_in_words_and_apart_from_other_curves() -> None:
    own, plain = (Recipe.parse(text).canonical for text in ("rtn:4g64 + cache:4g64", "rtn:4g64"))
    assert recipe_words(own).endswith("(rtn) and keys and values at 4 bits in groups of 64")
    assert (axis_of(own), axis_of(plain), axis_of(Recipe.parse("cache:4").canonical)) == ("combined", "bits", "bits")
    assert position_of(own, family_of(own, "bits")) == 4
    assert position_of(plain, family_of(own, "bits")) is None
