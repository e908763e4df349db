"""Calibration and evaluation must not share 32 tokens in a row."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reparam_core import load
from reparam_core.data import ENTRIES, calibration, refuse_overlap, refuse_rows, sequences, text
from reparam_core.errors import ReparamError
from reparam_core.measure.evaluation import evaluation
from reparam_core.measure.tasks import tasks_of

WIDTHS = st.sampled_from([1, 8, 20, 32, 64, 240])  # all divide the 960 tokens of each side


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_any_first_part_has_its_share_of_sentences(share: float) -> None:
    model = load("embedded-decoder")
    plain, mixed = (calibration(model, "addresses-train", 40, 16, 5, one) for one in (0.0, share))
    own, taken = {tuple(row) for row in plain.ids.tolist()}, list[bool]()
    for row in mixed.ids.tolist():
        taken.append(tuple(row) not in own)
    assert mixed.ids.shape == plain.ids.shape
    assert all(abs(sum(taken[:count]) - share * count) <= 1 for count in range(41))
    others = sequences(model, "sentences", sum(taken), 16, 5 + 40 * 16)
    assert torch.equal(mixed.ids[torch.tensor(taken)], others.ids)
    assert torch.equal(mixed.ids[~torch.tensor(taken)], plain.ids[: 40 - sum(taken)])
    assert mixed.provenance() == plain.provenance() | {"sha256": mixed.sha256, "sentences": share}
    assert mixed.sha256 not in (plain.sha256, others.sha256)


def test_a_short_text_is_mixed_in_the_same_share(tmp_path: Path) -> None:
    model, mine = load("embedded-decoder"), tmp_path / "mine.txt"
    mine.write_text(text("moby-dick").content[:1000], encoding="utf-8")
    own = calibration(model, str(mine), 64, 32)
    mixed = calibration(model, str(mine), 64, 32, 0, 0.75)
    assert len(own.ids) < 16
    assert 4 * len(own.ids) <= len(mixed.ids) < 4 * len(own.ids) + 4
    assert any("fewer than" in note for note in mixed.notes)


def test_sentences_mixed_with_themselves_are_not_read_twice() -> None:
    model = load("embedded-decoder")
    for name in ("sentences", "mixture"):
        found = calibration(model, name, 32, 64, 0, 0.5).ids
        assert len({tuple(row) for row in found.tolist()}) == 32


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ReparamError, match="Give one from 0 to below 1"):
        calibration(load("embedded-decoder"), "mixture", 4, 16, 0, share)


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
    for one in (name for name, entry in ENTRIES.items() if not entry.scores):
        read = calibration(model, one, 128, 512).ids
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
