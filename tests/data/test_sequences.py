"""A text is tokenized only as far as needed, and its ids are those of the whole."""

from pathlib import Path

import pytest

from reparam_core import load
from reparam_core.data import sequences, text
from reparam_core.data.sequences import _tokenized
from reparam_core.models import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return load("embedded-decoder")


@pytest.mark.parametrize(("count", "length", "offset"), [(2, 64, 0), (8, 257, 0), (3, 100, 10_000)])
def test_ids_are_those_of_the_whole_text(model: Model, count: int, length: int, offset: int) -> None:
    _tokenized.clear()
    found = sequences(model, "moby-dick", count, length, offset)
    whole = model.encode(text("moby-dick").content[:400_000])
    assert found.ids.flatten().tolist() == whole[offset : offset + count * length]


def test_a_longer_wish_reads_on(model: Model) -> None:
    _tokenized.clear()
    short, long = (sequences(model, "addresses", count, 128) for count in (1, 64))
    assert long.ids[0].tolist() == short.ids[0].tolist()
    assert len(long.ids) == 64


def test_fewer_sequences_than_asked_are_used_and_said(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("The Congress shall have power to declare war. " * 40, encoding="utf-8")
    found = sequences(model, str(file), 100, 64)
    assert 0 < len(found.ids) < 100
    assert "fewer than the 100" in found.notes[0]
