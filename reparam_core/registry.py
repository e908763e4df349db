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
    from reparam_core.methods.rewriting import Transform
    from reparam_core.splits import Split

METHODS: dict[str, type[Method]] = {}
SPLITS: dict[str, Split] = {}
TRANSFORMS: dict[str, type[Transform]] = {}
AXES = ("rank", "sparsity", "bits")  # also the order in which the steps of one rule apply
M = TypeVar("M", bound="type[Method]")
S = TypeVar("S", bound="type[Split]")
T = TypeVar("T", bound="type[Transform]")


def register(method: M) -> M:
    """Class decorator: the method appears in recipes, menus, the command line, the laws of the tests and the docs."""
    METHODS[method.name] = method
    return method


def register_split(split: S) -> S:
    """Class decorator: the same for a way to spread a setting over matrices."""
    SPLITS[split.name] = split()
    return split


def register_transform(transform: T) -> T:
    """Class decorator: the same for a rewrite that keeps the function and comes before every rule."""
    TRANSFORMS[transform.name] = transform
    return transform


@cache
def _discover(room: str) -> None:
    package = importlib.import_module(f"reparam_core.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"reparam_core.{room}."):
        importlib.import_module(module.name)


def methods(axis: str | None = None) -> dict[str, type[Method]]:
    """Every method by name, of one axis or of all."""
    _discover("methods")
    return {name: METHODS[name] for name in sorted(METHODS) if axis is None or METHODS[name].axis == axis}


def method(name: str, axis: str | None = None) -> type[Method]:
    """The method of that name. Raises ReparamError with the nearest names."""
    known = methods(axis)
    if name not in known:
        kind = f"{axis} method" if axis else "method"
        raise ReparamError(f"Unknown {kind} {quoted(name)}.", f"Known: {_listed(known)}.")
    return known[name]


def transforms() -> dict[str, type[Transform]]:
    """Every rewrite that keeps the function, by name."""
    _discover("methods")
    return {name: TRANSFORMS[name] for name in sorted(TRANSFORMS)}


def transform(name: str) -> type[Transform]:
    """The rewrite of that name. Raises ReparamError with those that there are."""
    known = transforms()
    if name not in known:
        raise ReparamError(f"Unknown transform {quoted(name)}.", f"Known: {_listed(known)}.")
    return known[name]


def splits(axis: str) -> dict[str, Split]:
    """Every way to spread a setting of that axis, by name."""
    _discover("splits")
    return {name: SPLITS[name] for name in sorted(SPLITS) if axis in SPLITS[name].axes}


def split(name: str, axis: str) -> Split:
    """The split of that name. Raises ReparamError with those that there are."""
    known = splits(axis)
    if name not in known:
        raise ReparamError(f"Unknown split of {axis} {quoted(name)}.", f"Known: {_listed(known)}.")
    return known[name]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
