"""How long calibration is said to take follows what is read, written and measured."""

import pytest

from reparam_core.apply import finished
from reparam_core.jobs.lasting import seconds_at_first, seconds_to_read
from reparam_core.models import load
from reparam_core.recipes import Calibration, Recipe
from reparam_core.registry import methods
from reparam_core.written import reading


def test_twice_as_much_takes_twice_as_long() -> None:
    model, wanda = load("embedded-decoder"), methods()["wanda"]()
    one, two = (seconds_to_read(model, Calibration(sequences=count), wanda) for count in (16, 32))
    assert two == 2 * one
    assert seconds_to_read(model, Calibration(length=512), wanda) == seconds_to_read(
        model, Calibration(length=1024), wanda), "the model has 512 positions"  # fmt: skip
    assert seconds_to_read(model, Calibration(), methods()["magnitude"]()) == 0


def test_a_recipe_takes_what_its_steps_read() -> None:
    model = load("embedded-decoder")
    assert seconds_at_first(model, Recipe.parse("magnitude:0.5")) == 0
    once, behind = (seconds_at_first(model, Recipe.parse(one)) for one in ("wanda:0.5", "wanda:0.5@sequential"))
    assert 0 < once < behind
    assert seconds_at_first(model, Recipe.parse("wanda:0.5 + gptq:4g64@sequential")) == once + behind
    assert seconds_at_first(model, Recipe.parse("smooth")) == once
    assert seconds_at_first(model, Recipe.parse("smooth + gptq:4g64")) == 2 * once, "the inputs before, and behind"
    assert seconds_at_first(model, Recipe.parse("rtn:4g64@output")) == once, "the split reads, though rounding does not"
    assert seconds_at_first(model, Recipe.parse("wanda:0.5@outliers")) == once
    assert seconds_at_first(model, Recipe.parse("wanda:0.5@sequential@outliers")) == behind + once


def test_gradients_are_more_than_reading() -> None:
    model = load("embedded-decoder")
    once, both, all_ = (seconds_at_first(model, Recipe.parse(one)) for one in (
        "whitened-svd:0.5", "fisher-svd:0.5", "fisher-svd:0.5 + gptq:4@sequential"))  # fmt: skip
    assert both > 2 * once
    assert all_ == pytest.approx(both + seconds_to_read(model, Calibration(), methods()["gptq"](), "sequential"))


def test_measuring_takes_a_pass_for_every_unit() -> None:
    """Whatever more of the text there is, it is not read; where something else reads the inputs, that is added."""
    model, text = load("embedded-decoder"), Calibration()
    heads, layers = (seconds_to_read(model, text, methods()[f"measured-{unit}"]()) for unit in ("heads", "layers"))
    groups = model.matrices["layers.0.attention.k"].shape[0] // (model.head_width("layers.0.attention.k") or 1)
    assert heads == pytest.approx(groups * layers)
    assert seconds_to_read(model, Calibration(sequences=1000, length=512), methods()["measured-layers"]()) == layers
    assert seconds_to_read(model, Calibration(sequences=2), methods()["measured-layers"]()) == pytest.approx(layers / 2)
    assert seconds_at_first(model, Recipe.parse("measured-layers:0.5")) == layers
    read = seconds_to_read(model, text, methods()["gptq"]())
    assert seconds_at_first(model, Recipe.parse("measured-layers:0.5 + gptq:4")) == read + layers
    assert seconds_at_first(model, Recipe.parse("measured-heads:0.5 + gptq:4@sequential")) == (
        seconds_to_read(model, text, methods()["gptq"](), "sequential") + heads
    )


def test_what_a_model_has_yet_to_write_is_counted_once(own_store: None) -> None:
    model = load("embedded-decoder")
    own = {"text": "written", "sequences": 2, "length": 16}
    recipe = Recipe.parse(Recipe.parse("wanda:0.5").as_json() | {"calibration": own})
    before = seconds_at_first(model, recipe)
    finished(reading(model, "written", 2, 16))
    assert 0 < seconds_at_first(model, recipe) < before
    assert seconds_at_first(model, Recipe.parse("magnitude:0.5")) == 0
