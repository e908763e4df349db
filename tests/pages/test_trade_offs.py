"""Trade-offs without a browser: controls, sentence, figures, history, mistakes."""

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import Open, sentence, settled, whole


def titles(page: AppTest) -> list[str]:
    return [json.loads(one.proto.spec)["layout"]["title"]["text"] for one in page.get("plotly_chart")]


def chart_of(element: Any) -> Any:
    return json.loads(element.proto.spec)


def misread(page: AppTest) -> list[str]:
    return [one.value for one in page.caption if "Not understood in the address" in one.value]


def slider(page: AppTest, key: str) -> object:
    return next(one for one in page.select_slider if one.key == key)


def test_it_opens_on_the_untouched_decoder(opened: Open) -> None:
    page = opened("trade_offs")
    assert not page.exception
    assert sentence(page).startswith("#### embedded-decoder untouched is a file of 11 MB; perplexity on the addresses")
    assert {one.label for one in page.metric} == {"Next-token accuracy", "Perplexity", "File size", "Latency"}
    assert not any(one.delta for one in page.metric), "the base is not compared with itself"


def test_a_slider_changes_sentence_figures_and_charts(opened: Open) -> None:
    page = opened("trade_offs")
    slider(page, "bits").set_value(4)
    page = whole(page.run())
    assert "all blocks at 4 bits in groups of 64 (rtn)" in sentence(page)
    size = next(one for one in page.metric if one.label == "File size")
    assert size.delta.endswith("× the base")
    assert any("2 settings and the base measured" in one for one in titles(page))
    assert any("Bits of all blocks (rtn, group 64)" in one.replace("<br>", " ") for one in titles(page))
    footers = " ".join(json.loads(one.proto.spec)["layout"]["meta"]["provenance"] for one in page.get("plotly_chart"))
    assert "257, every position but the first scored" in footers
    assert "addresses and moby-dick: " in footers


def test_a_measured_setting_can_be_loaded_without_a_mouse(opened: Open) -> None:
    page = opened("trade_offs")
    slider(page, "bits").set_value(4)
    page = settled(page.run())
    menu = next(one for one in page.selectbox if one.key == "load-measured")
    (choice,) = [one for one in menu.options if one.startswith("base (1.00×, ")]
    menu.set_value(choice)
    page = settled(page.run())
    assert "untouched" in sentence(page)
    assert next(one for one in page.selectbox if one.key == "load-measured").value is None  # it can be chosen again


@pytest.mark.parametrize(("parameters", "axis"), [
    ({"sparsity": "30", "bits": "4"}, "sparsity"), ({"rank": "50", "bits": "4"}, "rank"), ({"bits": "4"}, "bits")])  # fmt: skip
def test_curves_run_along_an_axis_in_use_through_the_setting(
    opened: Open, parameters: dict[str, str], axis: str
) -> None:
    page = opened("trade_offs", **parameters)
    (curve,) = [
        one
        for one in map(chart_of, page.get("plotly_chart"))
        if one["layout"]["title"]["text"].startswith(axis.title())
    ]
    words = {one["text"] for one in curve["layout"]["annotations"]}
    assert "this setting" in words
    assert ("with 4 bits in groups of 64" in words) == (len(parameters) > 1)


def test_undo_and_redo_step_through_the_settings(opened: Open) -> None:
    page = opened("trade_offs")
    slider(page, "bits").set_value(3)
    page = settled(page.run())
    page.button(key="undo").click()
    page = settled(page.run())
    assert "untouched" in sentence(page)
    page.button(key="redo").click()
    page = settled(page.run())
    assert "at 3 bits" in sentence(page)


def test_undo_takes_back_another_method_with_its_own_fields(opened: Open) -> None:
    page = opened("trade_offs")
    slider(page, "rank").set_value(50)
    page = settled(page.run())
    method = next(one for one in page.selectbox if one.key == "rank_method")
    method.set_value("als")
    page = settled(page.run())
    assert "(als)" in sentence(page)
    for words in ("(svd)", "untouched"):
        page.button(key="undo").click()
        page = settled(page.run())
        assert words in sentence(page)
    assert page.button(key="undo").disabled
    for words in ("(svd)", "(als)"):
        page.button(key="redo").click()
        page = settled(page.run())
        assert words in sentence(page)
    assert page.button(key="redo").disabled


def test_a_pinned_setting_comes_with_the_address(opened: Open) -> None:
    page = opened("trade_offs", pinned="rtn:3g64", bits="2")
    size = next(one for one in page.metric if one.label == "File size")
    assert size.delta.endswith("× the pinned")
    assert "× the bytes of the pinned setting (rtn:3g64)" in sentence(page)
    assert any(one.value == "Compared with: all blocks at 3 bits in groups of 64 (rtn)" for one in page.caption)


def test_a_pinned_setting_that_is_none_is_a_message_in_place(opened: Open) -> None:
    page = opened("trade_offs", pinned="frobnicate:3")
    assert not page.exception
    assert any("frobnicate" in one.value for one in page.error)
    assert "untouched" in sentence(page)


def test_a_pinned_setting_that_does_not_fit_the_model_says_so(opened: Open) -> None:
    page = opened("trade_offs", pinned="svd:r300", bits="4")
    assert not page.exception
    assert any("does not fit embedded-decoder" in one.value and "full rank" in one.value for one in page.warning)
    size = next(one for one in page.metric if one.label == "File size")
    assert size.delta.endswith("× the base")
    assert any(one.value == "Compared with: the untouched model (the base)" for one in page.caption)


def test_a_wrong_recipe_as_text_is_a_message_in_place(opened: Open) -> None:
    page = opened("trade_offs")
    next(one for one in page.text_input if one.key == "recipe").set_value("svd:r99999")
    page = settled(page.run())
    assert not page.exception
    assert any("above the full rank" in one.value for one in page.error)


def test_a_recipe_as_text_is_what_counts(opened: Open) -> None:
    page = opened("trade_offs")
    next(one for one in page.text_input if one.key == "recipe").set_value("svd:r16")
    page = settled(page.run())
    assert "all blocks at rank 16 (svd)" in sentence(page)


@pytest.mark.parametrize("key", ["recipe", "bits_symmetric"])
def test_what_a_closed_popover_sends_again_does_not_undo_an_undo(opened: Open, key: str) -> None:
    page = opened("trade_offs", bits="4")
    control, value = {"recipe": (page.text_input, "svd:r16"), "bits_symmetric": (page.toggle, True)}[key]

    def sends() -> AppTest:
        next(one for one in control if one.key == key).set_value(value)
        return settled(page.run())

    page = sends()
    page.button(key="undo").click()
    page = settled(page.run())
    before = sentence(page)
    page = sends()
    assert sentence(page) == before
    assert not page.button(key="redo").disabled


def test_what_the_browser_sends_before_it_hears_of_an_undo_does_not_take_it_back(opened: Open) -> None:
    page = opened("trade_offs")
    slider(page, "bits").set_value(4)
    page = settled(page.run())
    before = page.text_input(key="heard").value
    page.button(key="undo").click()
    page = settled(page.run())
    slider(page, "bits").set_value(4)
    page.text_input(key="heard").set_value(before)
    page = settled(page.run())
    assert "untouched" in sentence(page)
    assert not page.button(key="redo").disabled
    slider(page, "bits").set_value(4)
    page = settled(page.run())
    assert "at 4 bits" in sentence(page)


def test_back_to_the_sliders_stays_there(opened: Open) -> None:
    page = opened("trade_offs", bits="4", recipe="svd:r16")
    next(one for one in page.button if one.label == "Back to the sliders").click()
    page = settled(page.run())
    next(one for one in page.text_input if one.key == "recipe").set_value("svd:r16")
    page = settled(page.run())
    assert "at 4 bits" in sentence(page)


def test_what_the_address_says_in_vain_is_told_in_place(opened: Open) -> None:
    wrong = {"model": "foo", "rank": "0", "bits": "17", "sparsity": "200", "rank_method": "nope"}
    page = opened("trade_offs", **wrong)
    (told,) = misread(page)
    for said in ("model=foo (embedded-decoder is used)", "rank=0 (untouched is used)", "bits=17 (untouched is used)",
                 "sparsity=200 (untouched is used)", "rank_method=nope (svd is used)"):  # fmt: skip
        assert said in told
    slider(page, "bits").set_value(4)
    page = settled(page.run())
    assert not any("bits=17" in one for one in misread(page))
    page.button(key="put-away").click()
    assert not misread(settled(page.run()))


def test_what_the_address_says_rightly_needs_no_word(opened: Open) -> None:
    page = opened("trade_offs", model="embedded-decoder", rank="50", bits="16", rank_method="svd", quality="accuracy",
                  rank_unit="of the numbers", text_causal="Presidential addresses", panel="By layer")  # fmt: skip
    assert not misread(page)
    assert "50 %" in sentence(page)


def test_a_setting_can_be_pinned_and_compared_with(opened: Open) -> None:
    page = opened("trade_offs")
    slider(page, "bits").set_value(3)
    page = settled(page.run())
    next(one for one in page.button if one.label == "Pin this setting").click()
    slider(page, "bits").set_value(2)
    page = settled(page.run())
    size = next(one for one in page.metric if one.label == "File size")
    assert size.delta.endswith("× the pinned")


@pytest.mark.parametrize(("model", "words"), [
    ("embedded-seq2seq", "exact match on written dates"), ("embedded-encoder-pretrained", "perplexity on the reviews"),
    ("minilm-l6", "accuracy on film reviews")])  # fmt: skip
def test_every_kind_of_model_has_its_figures(opened: Open, model: str, words: str) -> None:
    page = opened("trade_offs", model=model)
    assert not page.exception
    assert not page.error
    assert words in sentence(page)


def test_a_masked_encoder_is_not_said_to_be_scored_everywhere(opened: Open) -> None:
    page = opened("trade_offs", model="embedded-encoder-pretrained")
    told = " ".join([*(one.help for one in page.metric), *(one.proto.spec for one in page.get("plotly_chart"))])
    assert "15% of the positions masked" in told
    assert "every position but" not in told


def test_a_confusion_matrix_says_where_it_comes_from(opened: Open) -> None:
    page = opened("trade_offs", panel="Tasks", model="embedded-encoder")
    charts = [json.loads(one.proto.spec) for one in page.get("plotly_chart")]
    (matrix,) = [one for one in charts if one["data"][0]["type"] == "heatmap"]
    assert matrix["layout"]["title"]["text"].startswith("Film reviews: ")
    assert "movie-reviews: 48 sentences, one answer a row" in matrix["layout"]["meta"]["provenance"]


def test_a_folder_that_is_not_there_is_not_offered_to_be_fetched(opened: Open) -> None:
    page = opened("trade_offs", model="another …", other_model="/no/such/folder")
    assert not [one for one in page.button if one.label == "Fetch and convert it"]
    assert any("There is no folder '/no/such/folder'" in one.value for one in page.error)


def test_an_unknown_model_is_a_message_in_place(opened: Open) -> None:
    page = opened("trade_offs", model="another …", other_model="no-such-folder")
    next(one for one in page.button if one.label == "Fetch and convert it").click()
    page = settled(page.run())
    assert not page.exception
    assert any("no-such-folder" in one.value for one in page.error)
