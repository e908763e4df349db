"""The settings of the curves: every axis from end to end, its ends first."""

import pytest

from reparam_core.recipes import Recipe
from reparam_core.registry import AXES
from reparam_core.search import curve_recipes


def test_every_axis_has_a_curve_and_its_ends_come_first() -> None:
    steps = [step for recipe in curve_recipes() for step in Recipe.parse(recipe).rules[0].steps.values()]
    for axis in AXES:
        own = [step.setting.given() for step in steps if step and step.axis == axis]
        name = {"rank": "keep", "sparsity": "fraction", "bits": "bits"}[axis]
        values = [one.get(name, 0.0) for one in own]
        assert len(values) >= 6
        assert max(values[:2]) == max(values)
        assert min(values[:2]) <= sorted(values)[1]


def test_no_setting_is_measured_twice() -> None:
    assert len(set(curve_recipes())) == len(curve_recipes())


def test_a_setting_brings_the_curves_of_its_own_steps() -> None:
    """Where it applies and all but the position stay; a method that iterates for every setting is left out."""
    recipe = Recipe.parse({"rules": [{"where": "*.{q,k,v}", "rank": {"method": "svd", "keep": 0.37}},
                                     {"where": "*", "bits": {"method": "rtn", "bits": 4, "group": 32, "symmetric": True}},
                                     {"where": "*.mlp.*", "rank": {"method": "als", "keep": 0.5}}]})  # fmt: skip
    own = [Recipe.parse(one) for one in curve_recipes(recipe.canonical) if one not in curve_recipes()]
    said = {(rule.where, step.method.name) for one in own for rule in one.rules for step in rule.steps.values() if step}
    assert said == {("*.{q,k,v}", "svd"), ("*", "rtn")}
    settings = [step.setting for one in own for rule in one.rules for step in rule.steps.values() if step]
    assert all(setting.group == 32 and setting.symmetric for setting in settings if hasattr(setting, "group"))


@pytest.mark.parametrize(("recipe", "count"), [
    ("wanda:0.5", 8), ("whitened-svd:0.5", 8), ("wanda:2:4", 3), ("wanda:0.5@sequential", 0), ("sparsegpt:0.5", 0),
    ("gptq:4g64", 0), ("nf4:g64", 1), ("rtn:4g32", 6)])  # fmt: skip
def test_steps_have_a_curve_where_every_position_is_quick(recipe: str, count: int) -> None:
    """At the widths that it takes; and all of it reads what the recipe reads."""
    asked = {"text": "addresses-train", "sequences": 32, "length": 512, "offset": 0}
    told = Recipe.parse(Recipe.parse(recipe).as_json() | {"calibration": asked})
    own = [Recipe.parse(one) for one in curve_recipes(told.canonical) if one not in curve_recipes()]
    assert len(own) == count
    assert all(one.calibration == told.calibration for one in own if told.reads)


def test_another_position_of_the_same_steps_asks_for_the_same_curves() -> None:
    assert curve_recipes("svd:0.4 + rtn:3g32") == curve_recipes("svd:0.7 + rtn:6g32")
