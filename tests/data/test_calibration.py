"""Calibration and evaluation must not share 32 tokens in a row."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reparam_core.data import refuse_overlap
from reparam_core.errors import ReparamError


@given(st.integers(0, 200), st.integers(0, 200), st.integers(32, 56))
def test_a_shared_run_is_refused_wherever_it_lies(here: int, there: int, length: int) -> None:
    calibrated, evaluated = torch.arange(256)[None], 1000 + torch.arange(256)[None]
    evaluated[0, there : there + length] = calibrated[0, here : here + length].clone()
    with pytest.raises(ReparamError, match="32 tokens in a row"):
        refuse_overlap(calibrated, evaluated)


def test_thirty_one_shared_tokens_are_allowed() -> None:
    calibrated, evaluated = torch.arange(256)[None], 1000 + torch.arange(256)[None]
    evaluated[0, 7:38] = calibrated[0, 90:121]
    assert refuse_overlap(calibrated, evaluated) is None
