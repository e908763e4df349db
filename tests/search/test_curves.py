"""The settings of the curves: every axis from end to end, its ends first."""

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
