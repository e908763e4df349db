"""A measurement: definitions, provenance, one answer kept for one question, and finite JSON."""

import itertools
import json
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reparam_core import ReparamError, apply, base, load, measure
from reparam_core.data import calibration, sequences, text
from reparam_core.measure import Measurement, measured
from reparam_core.models import Model
from reparam_core.recipes import Recipe

pytestmark = pytest.mark.usefixtures("own_store")

QUICK: dict[str, Any] = {"latency": False, "with_tasks": False}


@pytest.fixture(scope="module")
def decoder() -> Model:
    return load("embedded-decoder")


def test_bits_per_byte_are_those_of_the_text_that_is_scored(decoder: Model) -> None:
    found = measure(base(decoder), sequences=2, length=200, offset=3, **QUICK)
    ids = decoder.encode(text("addresses").content[:4000])[3:403]
    scored = [decoder.tokenizer.decode(ids[start + 1 : start + 200]) for start in (0, 200)]
    assert all(one in text("addresses").content for one in scored)
    size = sum(len(one.encode()) for one in scored)
    assert found["bits_per_byte"] == pytest.approx(found["nll"] * 398 / math.log(2) / size)
    assert 0.9 < found["bits_per_byte"] < 2


def test_masked_words_have_no_bits_per_byte_and_say_why() -> None:
    found = measure(base(load("embedded-encoder-pretrained")), sequences=2, length=64, **QUICK)
    assert found["bits_per_byte"] is None
    assert any(note.startswith("bits_per_byte") for note in found["notes"])
    assert (found["objective"], found["unit"]) == ("masked", "masked token")


def test_fewer_calibration_tokens_than_inputs_are_told(decoder: Model) -> None:
    few, enough = (measure(apply(decoder, "wanda:0.5", calibration=calibration(decoder, "mixture", 8, length)),
                           sequences=1, length=64, **QUICK)["notes"] for length in (16, 128))  # fmt: skip
    assert any("128 tokens, fewer than the 704 inputs of a matrix" in note for note in few)
    assert not any("fewer than the" in note for note in enough)


def test_the_line_says_what_each_share_of_right_answers_is_of(decoder: Model) -> None:
    values = measure(base(decoder), sequences=1, length=64, **QUICK).values
    line = str(Measurement(values | {"accuracy": 0.25, "tasks": {"state-capitals": {"accuracy": 0.25}}}))
    assert re.search(r"perplexity [\d.]+ and [\d.]+% right on addresses · state-capitals 25\.0%", line)


def test_evaluating_takes_the_time_of_this_settings_own_scoring(
    decoder: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is scored beside it the first time, by a clock that ticks a second a look."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    first = measure(apply(decoder, "rtn:3"), sequences=3, length=48, offset=11, **QUICK)
    again = measure(apply(decoder, "rtn:3"), sequences=3, length=48, offset=11, **QUICK)
    assert first["seconds"]["evaluate"] == again["seconds"]["evaluate"] == 3


def test_each_sequence_has_its_mean(decoder: Model) -> None:
    found = measure(apply(decoder, "rtn:4"), sequences=3, length=100, **QUICK)
    ids = sequences(decoder, "addresses", 3, 100).ids
    with torch.no_grad():
        expected = [float(apply(decoder, "rtn:4").module(one[None], labels=one[None]).loss) for one in ids]
    assert found["sequence_nll"] == pytest.approx(expected, rel=1e-5)
    assert found["nll"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert found["delta_nll"] == found["nll"] - found["base_nll"]


def test_the_base_measured_against_itself_is_no_different(decoder: Model) -> None:
    found = measure(base(decoder), sequences=3, length=512, **QUICK)
    assert (found["delta_nll"], found["flips"], found["kl_from_base"]) == (0, 0, 0)
    assert found["delta_nll_ci95"] == [0, 0]
    assert (found["bytes"], found["parameters"]) == (found["bytes_base"], found["parameters_base"])


def test_two_measurements_subtract(decoder: Model) -> None:
    one, other = (measure(apply(decoder, recipe), sequences=1, length=64, **QUICK) for recipe in ("rtn:4", "rtn:8"))
    difference = one - other
    assert difference["bytes"] == one["bytes"] - other["bytes"] < 0
    assert difference["nll"] == one["nll"] - other["nll"]
    assert not {"model", "cached", "delta_nll_ci95", "accuracy"} & set(difference)
    assert all(value == 0 for name, value in (one - one).items())


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
))  # fmt: skip
def test_its_json_is_json(value: Any) -> None:
    told = Measurement({"value": value}).to_json()
    again = json.loads(json.dumps(told, allow_nan=False))
    assert set(again) == {"value"}
    if not isinstance(value, float) or math.isfinite(value):
        assert type(again["value"]) is (list if isinstance(value, tuple) else type(value))


def test_a_question_is_answered_once(decoder: Model) -> None:
    first = measured(decoder, "rtn:4", sequences=1, length=64, **QUICK)
    same = Recipe.parse({"rules": [{"bits": {"bits": 4, "method": "rtn", "symmetric": False}}]})
    again = measured(decoder, same, sequences=1, length=64, **QUICK)
    assert (first["cached"], again["cached"]) == (False, True)
    assert again.to_json() == first.to_json() | {"cached": True}
    assert not measured(decoder, "rtn:4", sequences=1, length=64, fresh=True, **QUICK)["cached"]


OTHERS: list[dict[str, Any]] = [
    {"recipe": "rtn:4s"}, {"sequences": 2}, {"length": 65}, {"offset": 1}, {"text": "moby-dick"}, {"dtype": "bfloat16"},
    {"latency": True}, {"recipe": '{"rules": [{"bits": {"method": "rtn", "bits": 4}}], "storage": "bfloat16"}'},
]  # fmt: skip


@pytest.mark.parametrize("other", OTHERS, ids=lambda one: next(iter(one)))
def test_another_question_is_not_answered_with_it(decoder: Model, other: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"recipe": "rtn:4", "sequences": 1, "length": 64, **QUICK}
    measured(decoder, **asked)
    assert not measured(decoder, **(asked | other))["cached"]


def test_calibration_that_holds_what_is_hidden_from_an_encoder_is_refused() -> None:
    """Its input is masked in every seventh place, but the text itself was read."""
    model = load("embedded-encoder-pretrained")
    asked = sequences(model, "reviews", 1, 64)
    read = calibration(model, "reviews", 1, 34, 15)
    with pytest.raises(ReparamError, match="32 tokens in a row"):
        measured(model, "base", sequences=1, length=64, calibration=read, **QUICK)
    assert asked.ids[0, 15:49].tolist() == read.ids[0].tolist()


@pytest.mark.parametrize(
    "asked", [{"text": "movie-reviews"}, {"text": "addresses", "with_tasks": True}], ids=["asked", "task"]
)
def test_calibration_that_holds_rows_of_a_table_is_refused(decoder: Model, asked: dict[str, Any]) -> None:
    """Its sentences stand in the reviews, most with neighbours of their own."""
    read = calibration(decoder, "reviews", 16, 64)
    told = pytest.raises(ReparamError, match="that quality is measured on, of 'movie-reviews'")
    with told:
        measured(decoder, "wanda:0.5", sequences=1, length=64, calibration=read, **(QUICK | asked))
    setting = apply(decoder, "wanda:0.5", calibration=read)
    with told:
        measure(setting, sequences=1, length=64, **(QUICK | asked))
    assert measured(decoder, "wanda:0.5", sequences=1, length=64, calibration=read, **QUICK)["perplexity"] > 1


def test_a_setting_is_not_measured_on_what_it_was_calibrated_on(decoder: Model) -> None:
    setting = apply(decoder, "wanda:0.5", calibration=calibration(decoder, "moby-dick", 2, 64))
    with pytest.raises(ReparamError, match=r"32 tokens in a row .* of 'moby-dick'"):
        measure(setting, text="moby-dick", sequences=1, length=64, **QUICK)


def test_calibration_of_another_text_is_reported(decoder: Model) -> None:
    read = calibration(decoder, "moby-dick", 2, 64, 5)
    found = measured(decoder, "base", sequences=1, length=64, calibration=read, **QUICK)
    assert found["calibration"] == {
        "name": "moby-dick",
        "sha256": text("moby-dick").sha256,
        "offset": 5,
        "sequences": 2,
        "length": 64,
    }
    assert not measured(decoder, "base", sequences=1, length=64, **QUICK)["cached"]


def test_every_null_has_its_reason(tmp_path: Path) -> None:
    """The fewest answers, no tokens of a text, no latency: whatever is null is named in a note."""
    table = tmp_path / "dates.csv"
    table.write_text("text,label\nMay 1 1800,1800-05-01\nMay 2 1800,1800-05-02\n", encoding="utf-8")
    for found in (
        measure(base(load("embedded-seq2seq")), text=str(table)),
        measure(base(load("embedded-encoder-pretrained")), sequences=1, length=16, latency=False),
        measure(base(load("embedded-decoder")), sequences=1, length=16, **QUICK),
    ):
        told = " ".join(note.split(":")[0] for note in found["notes"])
        empty = {
            name for name in nulls(found.to_json()) if name not in ("source_bits", "calibration", "base_rss_bytes")
        }
        assert empty <= set(told.replace(",", " ").split()), empty


def nulls(value: Any, name: str = "") -> Iterator[str]:
    """The names of what is null, at any depth that the contract describes."""
    if value is None:
        yield name
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key not in ("text", "confusion", "unit"):
            yield from nulls(inner, key)


def test_only_known_dtypes(decoder: Model) -> None:
    with pytest.raises(ReparamError, match="Unknown dtype 'float8'"):
        measured(decoder, "base", dtype="float8")


@pytest.mark.parametrize("asked", [{"sequences": 0}, {"length": 1}, {"offset": -1}])
def test_what_scores_nothing_is_one_line(decoder: Model, asked: dict[str, Any]) -> None:
    with pytest.raises(ReparamError, match="score nothing"):
        measure(base(decoder), **asked)
