"""A text is tokenized only as far as needed, and its ids are those of the whole; arrays are taken as they are."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reparam_core import load
from reparam_core.data import most_tokens, sequences, text
from reparam_core.data.sequences import _tokenized
from reparam_core.errors import ReparamError
from reparam_core.models import Model

READ = 300_000  # characters whose tokens are known below


@pytest.fixture(scope="module", params=["embedded-decoder", "embedded-encoder-pretrained"])
def model(request: pytest.FixtureRequest) -> Model:
    return load(request.param)


@pytest.fixture(scope="module")
def whole(model: Model) -> list[int]:
    return model.encode(text("moby-dick").content[:READ])


@settings(max_examples=25)
@given(count=st.integers(1, 8), length=st.integers(2, 512), offset=st.integers(0, 40_000), forgotten=st.booleans())
def test_ids_are_those_of_the_whole_text(
    model: Model, whole: list[int], count: int, length: int, offset: int, forgotten: bool
) -> None:
    if forgotten:
        _tokenized.clear()
    found = sequences(model, "moby-dick", count, length, offset)
    assert found.ids.shape == (count, length)
    assert found.ids.flatten().tolist() == whole[offset : offset + count * length]


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["The Congress", " Ünïcode 京都", "\n\n", "  ", "déjà-vu ", "1861-03-04", "🦉", "aaaaaaaa" * 9, "’tis"]),
                min_size=40, max_size=160), st.integers(0, 30))  # fmt: skip
def test_ids_are_those_of_any_text(
    tmp_path_factory: pytest.TempPathFactory, model: Model, parts: list[str], offset: int
) -> None:
    written = "".join(parts) * 12
    file = tmp_path_factory.mktemp("any") / "any.txt"
    file.write_text(written, encoding="utf-8", newline="")
    expected = model.encode(text(str(file)).content)
    for count in (1, 4):
        found = sequences(model, str(file), count, 16, offset)
        assert found.ids.flatten().tolist() == expected[offset : offset + count * 16]


def test_a_longer_wish_reads_on(model: Model) -> None:
    _tokenized.clear()
    short, long = (sequences(model, "addresses", count, 128) for count in (1, 64))
    assert long.ids[0].tolist() == short.ids[0].tolist()
    assert len(long.ids) == 64


def test_fewer_sequences_than_asked_are_used_and_said(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("The Congress shall have power to declare war. " * 40, encoding="utf-8")
    tokens = len(model.encode(text(str(file)).content))
    found = sequences(model, str(file), 100, 64)
    assert len(found.ids) == tokens // 64 < 100
    assert "fewer than the 100" in found.notes[0]
    assert found.provenance()["sequences"] == len(found.ids)
    exact = sequences(model, str(file), 1, 64, tokens - 64)
    assert exact.notes == ()
    with pytest.raises(ReparamError, match="less than one sequence"):
        sequences(model, str(file), 1, 64, tokens - 63)


def test_more_positions_than_the_model_has_are_cut_and_said(model: Model) -> None:
    found = sequences(model, "addresses", 2, 1000)
    assert found.ids.shape == (2, model.config.max_position_embeddings)
    assert "above the model's 512 positions" in found.notes[0]


@pytest.mark.parametrize(
    ("positions", "tokenizer", "most"),
    [(512, 512, 512), (514, 512, 512), (512, 10**30, 512), (None, 128, 128), (None, None, None), (2048, None, 2048)],
)
def test_the_longest_input_is_what_both_model_and_tokenizer_know(
    positions: int | None, tokenizer: int | None, most: int | None
) -> None:
    """RoBERTa counts 514 positions, of which two are set apart: only its tokenizer says so."""
    reader: Any = SimpleNamespace(
        config=SimpleNamespace(max_position_embeddings=positions), tokenizer=SimpleNamespace(model_max_length=tokenizer)
    )
    assert most_tokens(reader) == most


def test_an_array_is_scored_as_it_is(model: Model, tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 1000, (3, 40)).astype(np.uint16)
    np.save(tmp_path / "ids.npy", ids)
    found = sequences(model, str(tmp_path / "ids.npy"), 3, 40)
    assert found.ids.tolist() == ids.tolist()
    assert (found.bytes, found.notes) == (None, ())
    assert sequences(model, str(tmp_path / "ids.npy"), 2, 10).ids.tolist() == ids[:2, :10].tolist()
    assert "3 sequences of 40, not the 16 of 512" in sequences(model, str(tmp_path / "ids.npy")).notes[0]


def several(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros((2, 4), int))


def objects(path: Path) -> None:
    np.save(path, np.array([[1, "a"]], dtype=object), allow_pickle=True)


DAMAGED = {
    "empty": lambda path: path.write_bytes(b""),
    "zip": lambda path: path.write_bytes(b"PK\x03\x04cut short"),
    "text": lambda path: path.write_text("not an array"),
    "several": several,
    "objects": objects,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_is_no_array_is_one_line(damage: str, model: Model, tmp_path: Path) -> None:
    DAMAGED[damage](tmp_path / "ids.npy")
    with pytest.raises(ReparamError, match=r"numpy\.save"):
        sequences(model, str(tmp_path / "ids.npy"))
