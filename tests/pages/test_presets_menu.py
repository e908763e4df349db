"""A preset of the menu sets the controls, or the recipe in words where no slider says it; undo takes it back."""

from reparam_core.recipes import Recipe
from tests.pages.conftest import Open, sentence, settled


def test_a_preset_is_loaded_and_taken_back(opened: Open) -> None:
    page = opened("trade_offs")
    page.selectbox("load-preset").set_value("half-size")
    page = settled(page.run())
    bits = next(iter(Recipe.parse("half-size").rules)).steps["bits"].setting.bits
    assert f"all blocks at {bits} bits" in sentence(page)
    assert page.selectbox("load-preset").value is None
    page.button(key="undo").click()
    assert "untouched" in sentence(settled(page.run()))


def test_one_that_no_slider_says_is_typed_by_its_name(opened: Open) -> None:
    page = opened("trade_offs", recipe="half-size")
    assert not page.error
    assert f"all blocks at {next(iter(Recipe.parse('half-size').rules)).steps['bits'].setting.bits} bits" in sentence(
        page
    )


def test_a_model_is_offered_what_it_takes(opened: Open) -> None:
    for model, all_of_them in (("embedded-decoder", True), ("embedded-seq2seq", False)):
        offered = opened("trade_offs", model=model).selectbox("load-preset").options
        assert ("Quarter size" in offered) == all_of_them
        assert "Half size" in offered
