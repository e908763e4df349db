"""Numbers as people say them."""

import math

import pytest

from pages.components.words import apart, gains, number, sentence, signed
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
    (36.5, 41.3, "36.5 → 41.3"), (36.46, 36.5, "36.46 → 36.50"), (36.461, 36.462, "36.461 → 36.462")])  # fmt: skip
def test_two_numbers_are_told_apart(before: float, after: float, told: str) -> None:
    assert apart(before, after) == told


def test_a_tenth_is_no_gain_in_speed() -> None:
    assert not gains(1.05)
    assert not gains(0.95)
    assert gains(1.2)
    assert gains(0.5)


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
