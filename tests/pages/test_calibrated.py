"""Data-aware methods on the page: what they read, how it is gathered, patterns, progress, and mistakes in place."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import progress
from pages.components.calibration import too_few
from pages.components.more import duration, paper_of
from pages.components.progress import with_time_left
from reparam_core.data import own_sources
from reparam_core.models import load
from reparam_core.registry import methods
from tests.pages.conftest import Open, sentence, settled
from tests.pages.test_trade_offs import misread, slider

OWN = " ".join(f"The ferry no {one} left its harbour, and {7 * one} gulls went after it." for one in range(300))
FEW = {"calibration_sequences": "16", "calibration_length": "128"}


def menu(page: AppTest, key: str) -> object:
    return next((one for one in page.selectbox if one.key == key), None)


def recipe_of(page: AppTest) -> dict[str, object]:
    """As the panel shows it."""
    found: dict[str, object] = json.loads(next(one.value for one in page.code if one.language == "json"))
    return found


def footers(page: AppTest) -> str:
    return " ".join(json.loads(one.proto.spec)["layout"]["meta"]["provenance"] for one in page.get("plotly_chart"))


def test_only_what_reads_text_asks_on_which(opened: Open) -> None:
    page = opened("trade_offs", sparsity="50", sparsity_method="wanda", panel="Recipe · Python · command line", **FEW)
    assert "all blocks at 50 % zeros (wanda) takes" in sentence(page)
    assert recipe_of(page)["calibration"] == {"sequences": 16, "length": 128}
    assert "calibrated on 16 × 128 tokens of the mixture (in domain: addresses; out of it: moby-dick)" in footers(page)
    assert any("transfer gap" in one.value for one in page.caption)
    menu(page, "calibration_text").set_value("addresses-train")
    page = settled(page.run())
    assert "(wanda, calibrated on training addresses)" in sentence(page)
    page.button(key="undo").click()
    page = settled(page.run())
    assert menu(page, "calibration_text").value == "mixture"
    menu(page, "sparsity_method").set_value("magnitude")
    page = settled(page.run())
    assert menu(page, "calibration_text") is None
    assert "(magnitude)" in sentence(page)


def test_a_link_brings_statistics_pattern_and_calibration(opened: Open) -> None:
    page = opened("trade_offs", sparsity_method="wanda", sparsity_pattern="2 of every 4 kept", calibration_length="128",
                  calibration_sentences="75 %",
                  calibration_text="Training addresses", calibration_sequences="16",
                  sparsity_statistics="block by block (sequential)", panel="Recipe · Python · command line")  # fmt: skip
    assert not misread(page)
    assert recipe_of(page) == {
        "version": 1, "calibration": {"text": "addresses-train", "sequences": 16, "length": 128, "sentences": 0.75},
        "rules": [{"sparsity": {"method": "wanda", "pattern": "2:4", "statistics": "sequential"}}]}  # fmt: skip
    assert (
        "all blocks at 2 of every 4 kept (wanda, sequential, calibrated on training addresses, 75 % sentences)"
        in sentence(page)
    )


def test_a_setting_is_spread_over_the_matrices(opened: Open) -> None:
    page = opened("trade_offs", bits="4", panel="Recipe · Python · command line", **FEW)
    menu(page, "bits_split").set_value("output")
    page = settled(page.run())
    assert recipe_of(page)["rules"] == [{"bits": {"method": "rtn", "bits": 4, "group": 64, "split": "output"}}]
    assert "4 bits in groups of 64 (rtn, split by output) takes" in sentence(page)
    assert menu(page, "calibration_text") is not None  # the split reads it, though rounding does not


def test_with_a_pattern_the_slider_rests_and_says_so(opened: Open) -> None:
    page = opened("trade_offs", sparsity="30")
    menu(page, "sparsity_pattern").set_value("2:4")
    page = settled(page.run())
    assert "2 of every 4 kept (magnitude)" in sentence(page)
    assert slider(page, "sparsity").disabled
    assert slider(page, "sparsity").label == "Sparsity 2:4; the slider rests"
    titles = " ".join(json.loads(one.proto.spec)["layout"]["title"]["text"] for one in page.get("plotly_chart"))
    assert "(magnitude, patterns)" in titles.replace("<br>", " ")
    menu(page, "sparsity_pattern").set_value("share")
    page = settled(page.run())
    assert "30 % zeros" in sentence(page)
    assert not slider(page, "sparsity").disabled


@pytest.mark.parametrize(("name", "ways"), [("whitened-svd", 2), ("fisher-svd", 1)])
def test_block_by_block_is_offered_where_a_method_goes_so(opened: Open, name: str, ways: int) -> None:
    """What a method needs of the untouched model alone it takes from there, whatever another method was told before."""
    page = opened("trade_offs", rank="50", rank_statistics="block by block (sequential)", rank_method=name, **FEW)
    assert len(menu(page, "rank_statistics").options) == ways
    assert not page.exception
    assert not page.error, [one.value for one in page.error]
    assert any("of the calibration text takes about" in one.value for one in page.caption)


def test_what_is_scored_is_not_calibrated_on(opened: Open) -> None:
    recipe = '{"rules": [{"sparsity": {"method": "wanda", "fraction": 0.5}}], "calibration": {"text": "addresses"}}'
    page = opened("trade_offs", recipe=recipe)
    assert not page.exception
    assert any("tokens in a row that quality is measured on" in one.value for one in page.error)


def calibrated_on(page: AppTest, content: str) -> AppTest:
    """Pasted in the sidebar, to be calibrated on."""
    next(one for one in page.text_area if one.key == "own_calibration_text").set_value(content)
    return page.run().button(key="own_calibration_use").click().run()


def test_an_own_text_is_calibrated_on_and_comes_with_the_address(opened: Open) -> None:
    page = opened("trade_offs", sparsity="50", sparsity_method="wanda", calibration_sentences="50 %", **FEW)
    page = settled(calibrated_on(page, OWN))
    assert not page.exception
    assert "calibrated on “The ferry no 0 left”, 50 % sentences" in sentence(page)
    assert "tokens of “The ferry no 0 left”, 50 % sentences" in footers(page)
    assert page.query_params["calibration_text"] == "The ferry no 0 left"
    again = opened("trade_offs", **page.query_params)
    assert sentence(again) == sentence(page)
    assert not misread(again)
    menu(again, "text_causal").set_value(own_sources(".txt")[0])
    assert any("tokens in a row that quality is measured on" in one.value for one in settled(again.run()).error)


def test_an_own_text_is_calibrated_on_where_nothing_is_scored(opened: Open) -> None:
    page = opened("attention", sparsity="50", sparsity_method="wanda", **FEW)
    page = settled(calibrated_on(page, OWN))
    assert "calibrated on “The ferry no 0 left”" in sentence(page)


def test_fewer_tokens_than_inputs_are_told() -> None:
    model = load("embedded-decoder")
    assert too_few(model, 703) == "703 tokens do not show all 704 inputs of a matrix: take more."
    assert not too_few(model, 704)


def test_an_own_text_to_calibrate_on_that_is_too_short_is_not_kept(opened: Open) -> None:
    page = calibrated_on(opened("trade_offs", sparsity="50", sparsity_method="wanda", **FEW), "Call me Ishmael.")
    (line,) = [one.value for one in page.error]
    assert line.endswith("Give at least 128 tokens, about 100 words.")
    assert own_sources(".txt") == []


@pytest.mark.parametrize(("parameters", "told"), [
    ({"recipe": "wanda:t0.01"}, "no threshold on the weights"),
    ({"recipe": "magnitude:0.5@sequential"}, "unknown field"),
    ({"model": "embedded-encoder", "bits": "4", "bits_method": "gptq", "bits_where": "Embedding"}, "multiplies nothing"),
    ({"sparsity": "50", "sparsity_magnitude_scope": "model", "bits": "4", "bits_method": "gptq",
      "bits_statistics": "block by block (sequential)"}, "looks at the whole model"),
])  # fmt: skip
def test_what_a_method_does_not_take_is_a_message_in_place(opened: Open, parameters: dict[str, str], told: str) -> None:
    page = opened("trade_offs", **parameters, **FEW)
    assert not page.exception
    assert any(told in one.value for one in page.error), [one.value for one in page.error]


@pytest.mark.parametrize("name", list(methods()))
def test_every_method_has_its_formula_its_source_and_numbers(opened: Open, name: str) -> None:
    kind = methods()[name]
    assert kind.formula
    assert paper_of(kind).endswith(".")
    if name in ("svd", "wanda", "rtn"):
        position = {"rank": "50", "sparsity": "50", "bits": "4"}[kind.axis]
        page = opened("trade_offs", **{kind.axis: position, f"{kind.axis}_method": name}, **FEW)
        assert any(kind.formula in one.value for one in page.get("latex"))
        assert any(paper_of(kind) in one.value for one in page.markdown)
        assert any("layers.0.attention.q is m × n = 256 × 256: " in one.value for one in page.caption)


def test_the_text_panel_waits_for_the_figures(opened: Open) -> None:
    """Two jobs that wait for one setting would each make it: an error is told once, and nothing is written."""
    read = '"calibration": {"text": "moby-dick", "sequences": 4, "length": 64}'
    page = opened("trade_offs", recipe=f'{{"rules": [{{"sparsity": {{"method": "wanda", "fraction": 0.5}}}}], {read}}}')
    assert len(page.error) == 1
    assert "Scored on" in page.error[0].value
    assert "text" not in page.session_state["asked"]


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "1 s"), (42, "42 s"), (130, "2 min"), (605, "10 min")])
def test_a_duration_is_told_roughly(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_time_left_is_expected_first_and_then_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.st, "session_state", {})
    assert with_time_left("quality", "Reading 0", 0.0, 60.0) == "Reading 0, about 60 s left"
    now[0] += 10
    assert with_time_left("quality", "Reading 16", 0.25, 60.0) == "Reading 16, about 30 s left"
    assert with_time_left("quality", "Preparing a", 0.0) == "Preparing a"
    now[0] += 1
    assert with_time_left("quality", "Preparing b", 0.5) == "Preparing b"
    assert with_time_left("quality", "Reading 0", 0.0, 60.0) == "Reading 0, about 60 s left", (
        "another setting begins anew"
    )


def test_a_method_is_offered_what_it_takes(opened: Open) -> None:
    """Widths and groups of another method give way, so that no choice of a method is a mistake, and come back."""
    page = opened("trade_offs", bits="3", bits_symmetric="true", bits_group="128")
    assert "3 bits in groups of 128, symmetric (rtn)" in sentence(page)
    for name, told in (("mxfp4", "4 bits in groups of 32 (mxfp4)"), ("binary", "1 bit in groups of 128 (binary)"),
                       ("hqq", "3 bits in groups of 128 (hqq)")):  # fmt: skip
        menu(page, "bits_method").set_value(name)
        page = settled(page.run())
        assert not page.exception
        assert not page.error, [one.value for one in page.error]
        assert told in sentence(page)


def one_menu() -> None:
    """The method and its menu of groups alone, with a recipe to load."""
    import streamlit as st

    from pages.components.history import KEPT, load_recipe
    from pages.components.more import more_of
    from reparam_core.models import load

    method = st.selectbox("Method", ["rtn", "codebook"], 1, key="bits_method", **KEPT)
    more_of("bits", method, load("embedded-decoder"))
    st.button("Load", key="load", on_click=load_recipe, args=("rtn:4",))


def test_what_a_recipe_says_does_not_give_way_to_what_was_wanted_before() -> None:
    page = AppTest.from_function(one_menu).run()
    assert menu(page, "bits_group").value == "row"
    page = page.button(key="load").click().run()
    assert (menu(page, "bits_method").value, menu(page, "bits_group").value) == ("rtn", "row")
    assert page.query_params == {"bits_method": "rtn", "bits_group": "row"}
