"""Numbers as people say them."""

import math
from dataclasses import replace
from typing import Any

import pytest

from pages.components.baseline import Baseline
from pages.components.words import (
    alike,
    apart,
    change_words,
    faster_words,
    number,
    recipe_words,
    sentence,
    setting_words,
    signed,
    source_titles,
    source_words,
    speed_words,
)
from tests.pages.points import point


@pytest.mark.parametrize(("value", "told"), [(36.456, "36.5"), (467.8, "467.8"), (5519.2, "5,519"), (9.3e6, "9.3·10⁶"),
                                             (0.123456, "0.123"), (999_600, "10⁶"), (996_000, "10⁶"), (math.inf, "∞")])  # fmt: skip
def test_a_number_has_the_digits_that_mean_something(value: float, told: str) -> None:
    assert number(value) == told


@pytest.mark.parametrize(("value", "told"), [(0.00226, "+0.0023"), (-0.5, "−0.5"), (127.5, "+128"), (-4990.3, "−4,990"),
                                             (4.08, "+4.1"), (0, "+0"), (math.inf, "+∞"), (-math.inf, "−∞")])  # fmt: skip
def test_a_difference_has_two_digits_and_a_sign(value: float, told: str) -> None:
    assert signed(value) == told


@pytest.mark.parametrize(("before", "after", "told"), [
    (36.5, 41.3, "36.5 → 41.3"), (36.46, 36.5, "36.46 → 36.50"), (36.461, 36.462, "36.461 → 36.462"),
    (1.00006, 1.00012, None)])  # fmt: skip
def test_two_numbers_are_told_apart(before: float, after: float, told: str | None) -> None:
    assert apart(before, after) == told


@pytest.mark.parametrize(("ends", "told"), [
    ((0.043, 0.034, 0.051), "+0.043 +0.034 +0.051"), ((-1.1, -1.8, -0.42), "-1.1 -1.8 -0.4"),
    ((-0.5, -0.96, -0.04), "-0.50 -0.96 -0.04"), ((23.4, 20, 27), "+23 +20 +27"), ((1e7, 1e6, 1e8), "+10⁷ +10⁶ +10⁸")])  # fmt: skip
def test_a_difference_and_its_interval_have_the_same_decimals(ends: tuple[float, float, float], told: str) -> None:
    assert " ".join(alike(*ends)) == told


def test_an_interval_in_a_sentence_has_as_many_decimals_as_can_be_read() -> None:
    found = point("rtn:8", 36.51, base_perplexity=36.49, nll_interval=(0.00019, 0.00085))
    assert change_words(found) == "perplexity on the novel 36.49 → 36.51 (+0.007 to +0.031)"
    better = replace(found, perplexity=36.3, nll_interval=(-0.00085, -0.00019))
    assert change_words(better).endswith("(−0.031 to −0.007)")


def test_a_change_that_no_decimals_tell_is_worded() -> None:
    tiny = point("rtn:8", 1.00012, base_perplexity=1.00006, nll_interval=(1e-5, 1e-4))
    assert change_words(tiny) == "perplexity on the novel 1.00, worse by less than 0.001"
    shares = point(
        "rtn:8",
        labelled=True,
        unit="answer",
        source="dates",
        accuracy=0.99991,
        base_accuracy=0.99989,
        accuracy_interval=(1e-5, 3e-5),
    )
    assert change_words(shares) == "exact match on written dates 100.0%, better by less than 0.1 points"
    assert change_words(replace(tiny, final=False)) == "perplexity on the novel 1.00 (estimate)"


@pytest.mark.parametrize(("recipe", "told"), [
    ("rtn:4g64s", "with all blocks at 4 bits in groups of 64, symmetric (rtn)"),
    ("binary:1g64", "with all blocks at 1 bit in groups of 64 (binary)"),
    ("wanda:0.5@sequential", "with all blocks at 50 % zeros (wanda, sequential)"),
    ("flap-heads:0.5", "with all blocks at 50 % fewer attention heads (flap-heads)"),
    ("magnitude:2:4", "with all blocks at 2 of every 4 kept (magnitude)"),
    ('{"rules": [{"bits": {"method": "rtn", "bits": 3}}, {"where": "*.down", "bits": null}]}',
     "with all blocks at 3 bits, one grid a row (rtn) and *.down with bits untouched"),
    ('{"rules": [{"bits": {"method": "gptq", "bits": 4}}], "calibration": {"text": "addresses-train"}}',
     "with all blocks at 4 bits, one grid a row (gptq, calibrated on training addresses)"),
    ('{"rules": [{"bits": {"method": "gptq", "bits": 4}}], "calibration": {"sentences": 0.25}}',
     "with all blocks at 4 bits, one grid a row (gptq, calibrated on the mixture, 25 % sentences)")])  # fmt: skip
def test_a_recipe_says_what_is_unusual_of_its_calibration(recipe: str, told: str) -> None:
    assert recipe_words(recipe) == told


SPEED = {"speed": {"prefill": {"ratio": 1.234, "ci95": [1.1, 1.36]}, "decode": {"ratio": 0.953, "ci95": [0.91, 1.02]}}}


def test_speed_is_a_ratio_with_its_interval_or_no_difference() -> None:
    assert speed_words(SPEED) == "no significant difference in speed"
    reads = {"speed": SPEED["speed"] | {"decode": None}}
    assert speed_words(reads) == "reads 1.2× as fast (1.1 to 1.4)"
    assert speed_words(reads, named=True) == "reads 1.2× as fast as the base (1.1 to 1.4)"
    assert faster_words({"ratio": 3.0, "ci95": None}) is None


def test_the_untouched_model_says_what_it_is_and_what_to_try() -> None:
    told = sentence("small", [point("base", 20.0, bytes=5_480_000)])
    assert told.startswith("small untouched is a file of 5.48 MB; perplexity on the novel 20. ")
    assert "4 bits" in told
    assert "1.00×" not in told


BLOCKS: dict[str, Any] = {"nll_blocks": [3.0] * 20, "right_blocks": [0.5] * 20}


def test_a_sentence_has_the_same_baseline_as_the_cards() -> None:
    pinned = point("rtn:4", 25.0, bytes=4, **BLOCKS | {"nll_blocks": [2.9] * 20})
    baseline = Baseline("the pinned setting (rtn:4)", pinned.recipe, {"moby-dick": pinned})
    told = sentence("small", [point("svd:0.5", **BLOCKS)], SPEED, baseline)
    assert "takes 1.25× the bytes of the pinned setting (rtn:4); perplexity on the novel 25 → 30 (" in told
    assert "measuring the pinned setting (rtn:4) …" in sentence("small", [point("svd:0.5")], None,
                                                                replace(baseline, points={}))  # fmt: skip
    assert sentence("small", [pinned], None, baseline).endswith("perplexity on the novel 25. This is what is pinned.")


def test_own_texts_are_called_by_their_names() -> None:
    one, other = (f"/cache/own/own-{digest}-Call-me-Ishmael.txt" for digest in ("12ab34cd", "98fe76dc"))
    assert source_words(one) == "“Call me Ishmael”"
    assert source_titles([one, "moby-dick"])[one] == "Call me Ishmael"
    assert source_titles([one, other]) == {one: "Call me Ishmael · 12ab", other: "Call me Ishmael · 98fe"}


def test_a_sentence_says_what_is_an_estimate_and_what_is_no_difference() -> None:
    found = [
        point("svd:0.5", nll_interval=(0.1, 0.2), final=False),
        point("svd:0.5", source="addresses", nll_interval=(-0.1, 0.2)),
    ]
    told = sentence("small", found)
    assert told.startswith("small with all blocks at 50 % of full rank (svd) takes 0.50× the bytes; ")
    assert "perplexity on the novel 20 → 30 (estimate)" in told
    assert "perplexity on the addresses 30, no significant difference" in told
    assert "faster" not in told


@pytest.mark.parametrize(
    ("recipe", "told"),
    [("rtn:4g64", "all blocks at 4 bits in groups of 64 (rtn)"), ("base", "the untouched model (the base)")],
)
def test_a_setting_that_stands_for_itself_is_a_noun(recipe: str, told: str) -> None:
    assert setting_words(recipe) == told


def test_without_an_interval_the_same_is_no_difference() -> None:
    few = point("rtn:4", labelled=True, unit="choice", accuracy=0.5, base_accuracy=0.5, majority=0.5)
    assert change_words(few) == "right choices on the novel 50.0%, no difference"
