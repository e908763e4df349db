"""What a page says of a mistake: once, in place, in the user's own words, and the last picture stays."""

import pytest
from streamlit.testing.v1 import AppTest

from pages.components.errors import error_words
from reparam_core import ReparamError
from reparam_core.data import keep_own, own_sources
from tests.pages.conftest import Open, sentence, settled

OVERLAP = '{"rules": [{"sparsity": {"method": "wanda", "fraction": 0.5}}], "calibration": {"text": "addresses", "sequences": 16}}'
UNREAD = '{"rules": [{"sparsity": {"method": "wanda", "fraction": 0.5}}], "calibration": {"text": "nowhere"}}'


def typed(page: AppTest, recipe: str) -> AppTest:
    next(one for one in page.text_input if one.key == "recipe").set_value(recipe)
    return settled(page.run())


@pytest.mark.parametrize(("recipe", "words"), [
    ("svd:r99999", "above the full rank 128"), ("svd:r2 + magnitude:2:4", "rows of at least 4"), (UNREAD, "no text 'nowhere'"),
    ('{"rules": [{"where": "nothing\\u002a", "bits": {"method": "rtn", "bits": 4}}]}', r"called 'nothing\*'"),
    ("x" * 10_000, "Unknown method"),
])  # fmt: skip
def test_a_recipe_that_does_not_fit_is_told_once_and_the_last_one_stays(opened: Open, recipe: str, words: str) -> None:
    page = opened("trade_offs", recipe=recipe)
    assert not page.exception
    (line,) = [one.value for one in page.error]
    assert words in line
    assert len(line) < 700
    assert line.endswith("Shown instead: the untouched model (the base).")
    assert "untouched" in sentence(page)
    assert page.metric
    assert not [one for one in page.button if one.label == "Try again"]
    page = typed(page, "rtn:4g64")
    assert not page.error
    assert "at 4 bits" in sentence(page)
    page = typed(page, recipe)
    (line,) = [one.value for one in page.error]
    assert "4 bits in groups of 64 (rtn)" in line.rpartition("Shown instead")[2]
    assert "at 4 bits" in sentence(page)


@pytest.mark.parametrize("name", ["spectra", "attention"])
def test_other_pages_tell_it_too(opened: Open, name: str) -> None:
    page = opened(name, recipe="svd:r99999")
    assert not page.exception
    assert [one.value for one in page.error if "full rank 128" in one.value] == [one.value for one in page.error]
    assert len(page.error) == 1


def test_what_fitted_another_model_does_not_stay_in_force(opened: Open) -> None:
    page = typed(opened("trade_offs"), "svd:r128")
    assert "rank 128" in sentence(page)
    next(one for one in page.text_input if one.key == "recipe").set_value(
        '{"rules": [{"where": "layers.9*", "bits": null}]}'
    )
    next(one for one in page.selectbox if one.key == "model").set_value("embedded-seq2seq")
    page = settled(page.run())
    (line,) = [one.value for one in page.error]
    assert "matches nothing" in line
    assert "rank 128" in line.rpartition("Shown instead")[2], "which this model has too"


def test_a_slider_that_asks_for_what_cannot_be_keeps_the_last_setting(opened: Open) -> None:
    keep_own(b"A few words only.", ".txt")
    page = opened("trade_offs", bits="4", sparsity="50", sparsity_method="wanda", calibration_text="A few words only")
    (line,) = [one.value for one in page.error]
    assert line.startswith("“A few words only” has")
    assert "a smaller “Length” does too" in line
    assert "own-" not in line
    assert page.metric


def test_an_own_text_that_is_too_short_is_called_by_its_words_and_not_kept(opened: Open) -> None:
    page = opened("trade_offs")
    (box,) = [one for one in page.text_area if one.key == "own_text"]
    assert box.label == "Paste a text of at least 257 tokens, about 190 words"
    box.set_value("Call me Ishmael.")
    page = page.run()
    page = page.button(key="own_use").click().run()
    (line,) = [one.value for one in page.error]
    assert line.startswith("“Call me Ishmael” has")
    assert line.endswith("less than one sequence of 257. Give at least 257 tokens, about 190 words.")
    assert "offset" not in line
    assert own_sources(".txt") == []


def test_an_overlap_names_the_page_s_own_controls(opened: Open) -> None:
    page = opened("trade_offs", recipe=OVERLAP)
    (line,) = [one.value for one in page.error]
    assert "“Calibrated on” or “Scored on”" in line
    assert "--" not in line
    assert not [one for one in page.button if one.label == "Try again"]


def test_the_figures_before_stay_under_what_went_wrong(opened: Open) -> None:
    page = opened("trade_offs")
    before = sentence(page)
    page = typed(page, OVERLAP)
    assert page.error
    assert sentence(page) == before


@pytest.mark.parametrize(("problem", "words"), [
    ("'/a place/own/own-0a1b2c3d-my-notes.txt' is empty.", "“my notes” is empty."),
    ("/cache/own/own-0a1b2c3d-my-notes.csv is a running text.", "“my notes” is a running text."),
    ("own-0a1b2c3d-長い.csv has the label 'x'.", "“長い” has the label 'x'."),
    ("No matrix is called 'a*b*' [here](there) $x$.", r"No matrix is called 'a\*b\*' \[here\](there) \$x\$."),
])  # fmt: skip
def test_own_texts_have_their_titles_and_nothing_is_read_as_markdown(problem: str, words: str) -> None:
    assert error_words(ReparamError(problem)) == words
