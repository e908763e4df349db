"""Reference cards: every run is a recipe of this project, and the goal is told by its own figures."""

import json
import math

import pytest

from reparam_core.data.cards import MEASURED, Run, card, protocol, runs
from reparam_core.presets import presets
from reparam_core.recipes import Recipe
from reparam_core.registry import methods, transforms


def test_every_run_is_a_recipe_of_a_method_that_there_is() -> None:
    for run in runs():
        assert run.recipe in presets() or Recipe.parse(run.recipe).short() == run.recipe
        assert run.methods <= {*methods(), *transforms()}
        assert set(run.reference) | set(run.perplexity) <= set(protocol()["texts"])


def test_every_method_and_every_rewrite_is_run() -> None:
    assert set().union(*(run.methods for run in runs())) == {*methods(), *transforms()}


def test_a_run_is_on_the_card_of_every_method_in_it() -> None:
    assert "rotate + rtn:4g64" in recipes_of("rotate")
    assert "rotate + rtn:4g64" in recipes_of("rtn")
    assert {"quarter-size", "best-4-bits"} <= set(recipes_of("gptq"))
    assert "quarter-size" in recipes_of("smooth")
    assert "best-4-bits" not in recipes_of("smooth")


def recipes_of(name: str) -> list[str]:
    return [run.recipe for run in card(name).runs]


def test_what_was_measured_is_on_some_card() -> None:
    measured = {row["recipe"] for row in json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]}
    assert measured <= {run.recipe for run in runs()}
    assert {run.recipe for run in runs() if run.perplexity} == measured


def test_a_preset_is_still_what_was_measured() -> None:
    rows = {row["recipe"]: row for row in json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]}
    for name in set(rows) & set(presets()):
        assert rows[name]["canonical"] == Recipe.parse(name).canonical


def test_the_ratio_is_this_code_against_the_authors() -> None:
    run = next(one for one in card("wanda").runs if one.recipe == "wanda:0.5@sequential")
    assert run.ratio("moby_dick") == pytest.approx(run.perplexity["moby_dick"] / 99.9)
    assert run.ratio("nothing") is None


def test_the_gap_is_told_with_the_chance_in_this_codes_own_figure() -> None:
    run = Run("x:1", {"text": 60.0}, {"text": 57.0}, {"text": [0.1, 0.3]}, "", {"text": 50.0})
    assert run.gap("text") == pytest.approx((math.log(57 / 60), 0.1 - math.log(60 / 50), 0.3 - math.log(60 / 50)))


def test_the_gap_lies_in_its_interval_in_every_run() -> None:
    measured = [run for run in runs() if run.methods]
    found = [gap for run in measured for text in protocol()["texts"] if (gap := run.gap(text)) is not None]
    assert len(found) > 20
    assert all(low <= middle <= high for middle, low, high in found)


def test_without_a_reference_or_an_interval_there_is_no_gap() -> None:
    assert Run("x:1", {}, {"text": 57.0}, {"text": [0.1, 0.3]}, "", {"text": 50.0}).gap("text") is None
    assert Run("x:1", {"text": 60.0}, {"text": 57.0}, {"text": None}, "", {"text": 50.0}).gap("text") is None


def test_published_figures_say_where_they_are_from() -> None:
    found = card("gptq").published
    assert found
    assert all(one.claim and one.source for one in found)
    assert card("nothing").runs == []
