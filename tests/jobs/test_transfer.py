"""What two domains differ by, with the interval of two that are drawn apart."""

from dataclasses import replace

import numpy as np
import pytest

from reparam_core.jobs.transfer import transfer_gap
from tests.pages.points import point

OUTSIDE = point("wanda:0.5", delta_nll=0.9, nll_interval=(0.6, 1.3))
INSIDE = point("wanda:0.5", delta_nll=0.4, nll_interval=(0.1, 0.8))


def test_a_gap_is_the_difference_with_both_uncertainties() -> None:
    gap = transfer_gap(OUTSIDE, INSIDE)
    assert gap.value == pytest.approx(0.5)
    assert gap.interval == pytest.approx((0.5 - 0.5, 0.5 + 0.5))
    assert gap.final


def test_means_of_known_deviation_have_the_interval_of_their_difference() -> None:
    """Symmetric intervals join as those of two independent means do."""
    outside, inside = replace(OUTSIDE, nll_interval=(0.6, 1.2)), replace(INSIDE, nll_interval=(0.0, 0.8))
    gap = transfer_gap(outside, inside)
    assert gap.interval is not None
    assert np.diff(gap.interval) / 2 == pytest.approx(np.hypot(0.3, 0.4))


def test_an_estimate_without_interval_has_none() -> None:
    gap = transfer_gap(OUTSIDE, replace(INSIDE, nll_interval=None, final=False))
    assert gap.interval is None
    assert not gap.final
