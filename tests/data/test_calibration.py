"""Calibration and evaluation must not share 32 tokens in a row."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reparam_core import load
from reparam_core.data import calibration, refuse_overlap, refuse_rows, sequences
from reparam_core.errors import ReparamError
from reparam_core.measure.evaluation import evaluation
from reparam_core.measure.tasks import tasks_of

WIDTHS = st.sampled_from([1, 8, 20, 32, 64, 240])  # all divide the 960 tokens of each side


def refuse(calibrated: torch.Tensor, evaluated: torch.Tensor) -> None:
    refuse_overlap(calibrated, evaluated, "mine")


def overlapping(here: int, there: int, length: int, widths: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Two texts that share so many tokens in a row and no more, each cut into sequences."""
    calibrated, evaluated = torch.arange(960), 1000 + torch.arange(960)
    evaluated[there : there + length] = calibrated[here : here + length]
    return calibrated.view(-1, widths[0]), evaluated.view(-1, widths[1])


@given(st.integers(0, 900), st.integers(0, 900), st.integers(32, 60), st.tuples(WIDTHS, WIDTHS))
def test_a_shared_run_is_refused_wherever_it_lies(here: int, there: int, length: int, widths: tuple[int, int]) -> None:
    """Also where a sequence ends within it: the text goes on in the next."""
    with pytest.raises(ReparamError, match="32 tokens in a row"):
        refuse(*overlapping(here, there, length, widths))


@given(st.integers(0, 900), st.integers(0, 900), st.integers(0, 31), st.tuples(WIDTHS, WIDTHS))
def test_thirty_one_shared_tokens_are_allowed(here: int, there: int, length: int, widths: tuple[int, int]) -> None:
    refuse(*overlapping(here, there, length, widths))


def test_a_text_shorter_than_a_run_shares_none() -> None:
    refuse(torch.arange(31)[None], torch.arange(31)[None])


@pytest.mark.parametrize("length", [8, 20, 40])
def test_a_row_of_a_table_is_refused_where_the_whole_of_it_is_there(length: int) -> None:
    calibrated, row = torch.arange(960).view(-1, 20), list(range(115, 115 + length))
    with pytest.raises(ReparamError, match="The calibration holds a whole row that quality is measured on, of 'mine'"):
        refuse_rows(calibrated, [[2000, 2001], row], "mine")
    refuse_rows(calibrated, [[*row, 2000], row[::-1]], "mine")


def test_a_few_tokens_are_anybodys() -> None:
    refuse_rows(torch.arange(960), [list(range(7))], "mine")


def test_the_default_calibration_holds_nothing_that_is_scored_by_default() -> None:
    for name, source in (
        ("embedded-decoder", "addresses"),
        ("embedded-decoder", "moby-dick"),
        ("embedded-encoder-pretrained", "reviews"),
    ):
        model = load(name)
        refuse(calibration(model).ids, sequences(model, source, 32, 257).ids)


@pytest.mark.parametrize("name", ["embedded-decoder", "embedded-encoder", "embedded-seq2seq"])
def test_no_text_that_is_for_calibration_holds_a_row_of_a_task(name: str) -> None:
    model = load(name)
    for text in ("mixture", "addresses-train", "dates-train"):
        read = calibration(model, text, 128, 512).ids
        for task, count in tasks_of(model).items():
            rows = evaluation(model, task, count).rows
            assert len(rows) == count
            refuse_rows(read, map(model.encode, rows), task)


def test_neighbouring_parts_of_one_text_are_apart_where_they_do_not_overlap() -> None:
    model = load("embedded-decoder")
    evaluated = sequences(model, "moby-dick", 2, 64)
    refuse(calibration(model, "moby-dick", 2, 64, 128).ids, evaluated.ids)
    with pytest.raises(ReparamError, match="another --calibration-offset"):
        refuse(calibration(model, "moby-dick", 2, 64, 96).ids, evaluated.ids)
