"""Methods are found by being there, and each can be written down, read back and told apart."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, fields
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from reparam_core.errors import ReparamError
from reparam_core.methods.base import Method
from reparam_core.recipes import Recipe
from reparam_core.registry import AXES, METHODS, method, methods
from tests.methods.leaves import width

SETTINGS: dict[str, dict[str, Any]] = {"rank": {"keep": 0.5}, "sparsity": {"fraction": 0.5}}
OTHER: dict[type, Callable[[Any], list[Any]]] = {
    bool: lambda value: [not value], int: lambda value: [value + 1, value // 2],
    float: lambda value: [value / 2, 2 * value], str: lambda value: ["model"]}  # fmt: skip
STATISTICS = {"gram", "mean", "range", "gradients", "losses"}
EVERY = pytest.mark.parametrize("name", methods())


def setting_of(kind: type[Method]) -> dict[str, Any]:
    """One that it takes."""
    return SETTINGS.get(kind.axis) or {"bits": width(kind.name, 4)}


def changed(kind: type[Method]) -> list[Method]:
    """The method once with each of its fields changed."""
    return [_changed(kind, one.name, one.default) for one in fields(kind)]


def _changed(kind: type[Method], name: str, default: Any) -> Method:
    """With another value of that field, the first that it takes."""
    for other in OTHER[type(default)](default):
        with suppress(ValidationError):
            return TypeAdapter(kind).validate_python({name: other})
    raise AssertionError(f"{kind.name}: no other {name} than {default}")


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
        recipe = Recipe.parse({"rules": [{kind.axis: step | setting_of(kind)}]})
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
    return (
        {"method": one.name} | {field.name: getattr(one, field.name) for field in fields(one)} | setting_of(type(one))
    )


@EVERY
@pytest.mark.parametrize("how", ["one-shot", "sequential"])
def test_only_what_reads_its_inputs_says_how_they_are_gathered(name: str, how: str) -> None:
    kind = method(name)
    step = {"method": name, "statistics": how} | setting_of(kind)
    assert kind.needs <= STATISTICS
    if kind.needs:
        read = Recipe.parse({"rules": [{kind.axis: step}]})
        assert read.reads
        assert read.short().endswith("@sequential") == (how == "sequential")
        assert Recipe.parse(read.short()) == read
    else:
        with pytest.raises(ReparamError, match=f"'{name}' is wrong: statistics: unknown field"):
            Recipe.parse({"rules": [{kind.axis: step}]})


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
