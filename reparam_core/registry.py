"""How methods are found: every module below `reparam_core.methods` is imported, and what registers itself is there."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from reparam_core.errors import ReparamError, quoted

if TYPE_CHECKING:
    from reparam_core.methods.base import Method

METHODS: dict[str, type[Method]] = {}
AXES = ("rank", "sparsity", "bits")  # also the order in which the steps of one rule apply
M = TypeVar("M", bound="type[Method]")


def register(method: M) -> M:
    """Class decorator: the method appears in recipes, menus, the command line, the laws of the tests and the docs."""
    METHODS[method.name] = method
    return method


@cache
def _discover() -> None:
    package = importlib.import_module("reparam_core.methods")
    for module in pkgutil.walk_packages(package.__path__, "reparam_core.methods."):
        importlib.import_module(module.name)


def methods(axis: str | None = None) -> dict[str, type[Method]]:
    """Every method by name, of one axis or of all."""
    _discover()
    return {name: METHODS[name] for name in sorted(METHODS) if axis is None or METHODS[name].axis == axis}


def method(name: str, axis: str | None = None) -> type[Method]:
    """The method of that name. Raises ReparamError with the nearest names."""
    known = methods(axis)
    if name not in known:
        kind = f"{axis} method" if axis else "method"
        raise ReparamError(f"Unknown {kind} {quoted(name)}.", f"Known: {_listed(known)}.")
    return known[name]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
