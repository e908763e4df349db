"""Methods are found by being there, and each can be written down, read back and told apart."""

from dataclasses import MISSING, fields, replace
from typing import Any

import pytest

from reparam_core.errors import ReparamError
from reparam_core.methods.base import Method
from reparam_core.recipes import Recipe
from reparam_core.registry import AXES, METHODS, method, methods

SETTINGS: dict[str, dict[str, Any]] = {"rank": {"keep": 0.5}, "sparsity": {"fraction": 0.5}, "bits": {"bits": 4}}
OTHER = {int: lambda value: value + 1, float: lambda value: value / 2, str: lambda value: "model"}
EVERY = pytest.mark.parametrize("name", methods())


def changed(kind: type[Method]) -> list[Method]:
    """The method once with each of its fields changed."""
    return [replace(kind(), **{one.name: OTHER[type(one.default)](one.default)}) for one in fields(kind)]


@EVERY
def test_a_method_has_all_that_menus_and_documents_show(name: str) -> None:
    kind = method(name)
    assert kind.name == name
    assert kind.axis in AXES
    assert kind.__doc__
    assert isinstance(kind.instant, bool)
    assert all(one.default is not MISSING for one in fields(kind))  # the short form names no field


@EVERY
def test_every_field_comes_back_from_a_recipe_and_makes_another_key(name: str) -> None:
    kind = method(name)
    every = [kind(), *changed(kind)]
    recipes = []
    for one in every:
        step = {"method": name} | {field.name: getattr(one, field.name) for field in fields(kind)}
        recipe = Recipe.parse({"rules": [{kind.axis: step | SETTINGS[kind.axis]}]})
        read = Recipe.parse(recipe.canonical).rules[0].steps[kind.axis]
        assert read is not None
        assert read.method == one
        recipes.append(recipe)
    assert len({recipe.canonical for recipe in recipes}) == len({hash(recipe) for recipe in recipes}) == len(every)
    assert len({recipe.short() for recipe in recipes}) == len(every)
    assert len({str(one.identity()) for one in every}) == len(every)


@EVERY
def test_only_the_plain_method_has_a_short_form(name: str) -> None:
    kind = method(name)
    plain, *others = (Recipe.parse({"rules": [{kind.axis: _step(one)}]}) for one in (kind(), *changed(kind)))
    assert Recipe.parse(plain.short()) == plain
    for recipe in others:
        with pytest.raises(ReparamError, match="no setting for"):
            Recipe.parse(recipe.short())


def _step(one: Method) -> dict[str, Any]:
    return {"method": one.name} | {field.name: getattr(one, field.name) for field in fields(one)} | SETTINGS[one.axis]


def test_an_axis_lists_its_own_methods_in_order() -> None:
    every = methods()
    assert list(every) == sorted(every)
    assert {name for axis in AXES for name in methods(axis)} == set(every) == set(METHODS)
    assert not set(methods("rank")) & set(methods("bits"))


@pytest.mark.parametrize(("name", "axis"), [("nonsense", None), ("rtn", "rank"), ("", "bits")])
def test_an_unknown_method_names_the_known_ones(name: str, axis: str | None) -> None:
    with pytest.raises(ReparamError, match=f"Unknown {axis + ' ' if axis else ''}method '{name}'") as caught:
        method(name, axis)
    assert all(known in str(caught.value) for known in methods(axis))
