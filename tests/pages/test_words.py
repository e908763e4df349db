"""Numbers as people say them."""

import pytest

from pages.components.words import apart, gains, number, signed


@pytest.mark.parametrize(("value", "told"), [(36.456, "36.5"), (467.8, "467.8"), (5519.2, "5,519"), (9.3e6, "9.3·10⁶"),
                                             (0.123456, "0.123")])  # fmt: skip
def test_a_number_has_the_digits_that_mean_something(value: float, told: str) -> None:
    assert number(value) == told


@pytest.mark.parametrize(("value", "told"), [(0.00226, "+0.0023"), (-0.5, "−0.5"), (127.5, "+128"), (-4990.3, "−4,990"),
                                             (4.08, "+4.1"), (0, "+0")])  # fmt: skip
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
