"""Reference cards: every run is a recipe of this project, and the goal is told by its own figures."""

import json

import pytest

from reparam_core.data.cards import MEASURED, card, protocol, runs
from reparam_core.presets import presets
from reparam_core.recipes import Recipe
from reparam_core.registry import methods, transforms


def test_every_run_is_a_recipe_of_a_method_that_there_is() -> None:
    for run in runs():
        assert run.recipe in presets() or Recipe.parse(run.recipe).short() == run.recipe
        assert run.method in {"base", *presets(), *methods(), *transforms()}
        assert set(run.reference) | set(run.perplexity) <= set(protocol()["texts"])


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


def test_published_figures_say_where_they_are_from() -> None:
    found = card("gptq").published
    assert found
    assert all(one.claim and one.source for one in found)
    assert card("nothing").runs == []
