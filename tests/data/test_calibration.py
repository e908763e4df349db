"""Calibration and evaluation must not share 32 tokens in a row."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reparam_core import load
from reparam_core.data import calibration, refuse_overlap, sequences
from reparam_core.errors import ReparamError

WIDTHS = st.sampled_from([1, 8, 20, 32, 64, 240])  # all divide the 960 tokens of each side


def overlapping(here: int, there: int, length: int, widths: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Two texts that share so many tokens in a row and no more, each cut into sequences."""
    calibrated, evaluated = torch.arange(960), 1000 + torch.arange(960)
    evaluated[there : there + length] = calibrated[here : here + length]
    return calibrated.view(-1, widths[0]), evaluated.view(-1, widths[1])


@given(st.integers(0, 900), st.integers(0, 900), st.integers(32, 60), st.tuples(WIDTHS, WIDTHS))
def test_a_shared_run_is_refused_wherever_it_lies(here: int, there: int, length: int, widths: tuple[int, int]) -> None:
    """Also where a sequence ends within it: the text goes on in the next."""
    with pytest.raises(ReparamError, match="32 tokens in a row"):
        refuse_overlap(*overlapping(here, there, length, widths))


@given(st.integers(0, 900), st.integers(0, 900), st.integers(0, 31), st.tuples(WIDTHS, WIDTHS))
def test_thirty_one_shared_tokens_are_allowed(here: int, there: int, length: int, widths: tuple[int, int]) -> None:
    refuse_overlap(*overlapping(here, there, length, widths))


def test_a_text_shorter_than_a_run_shares_none() -> None:
    refuse_overlap(torch.arange(31)[None], torch.arange(31)[None])


def test_the_default_calibration_holds_nothing_that_is_scored_by_default() -> None:
    for name, source in (
        ("embedded-decoder", "addresses"),
        ("embedded-decoder", "moby-dick"),
        ("embedded-encoder-pretrained", "reviews"),
    ):
        model = load(name)
        refuse_overlap(calibration(model).ids, sequences(model, source, 32, 257).ids)


def test_neighbouring_parts_of_one_text_are_apart_where_they_do_not_overlap() -> None:
    model = load("embedded-decoder")
    evaluated = sequences(model, "moby-dick", 2, 64)
    refuse_overlap(calibration(model, "moby-dick", 2, 64, 128).ids, evaluated.ids)
    with pytest.raises(ReparamError, match="another --calibration-offset"):
        refuse_overlap(calibration(model, "moby-dick", 2, 64, 96).ids, evaluated.ids)
