"""What the attention page asks of the evaluator: the maps of a prompt before and after, kept in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from reparam_core.apply import base
from reparam_core.jobs.evaluator import Ticket
from reparam_core.jobs.exploring import Explored, built, exploring_dtype
from reparam_core.measure.attention import HeadChange, Maps, attention, compare
from reparam_core.models import Model
from reparam_core.recipes import Recipe

KEPT_BYTES = 256_000_000  # of maps, for every session together


@dataclass(frozen=True)
class Attended:
    """The maps of a prompt before and after a recipe, by kind of attention."""

    model: str
    recipe: str  # canonical JSON
    prompt: str
    dtype: str
    kinds: dict[str, HeadChange]
    left_out: int  # tokens of the prompt that were not read
    answered: bool  # did a decoder read the base's answer?

    @property
    def untouched(self) -> bool:
        """Is the setting the base itself?"""
        return self.recipe == Recipe.parse("base").canonical

    @property
    def short(self) -> str:
        """The recipe as people type it."""
        return Recipe.parse(self.recipe).short()

    @property
    def nbytes(self) -> int:
        """Memory beside the base's maps."""
        return sum(change.nbytes for change in self.kinds.values())


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Kept = TypeVar("Kept", bound=_Sized)


class _Shelf:
    """The maps asked for last, shared by every session; the oldest go when there are too many bytes."""

    def __init__(self, most: int) -> None:
        self._kept: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._most, self._lock = most, threading.Lock()

    def get(self, name: tuple[str, ...], kind: type[Kept]) -> Kept | None:
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            found = self._kept.get(name)
        return found if isinstance(found, kind) else None

    def put(self, name: tuple[str, ...], value: Kept) -> Kept:
        with self._lock:
            self._kept[name] = value
            while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return value


_shelf = _Shelf(KEPT_BYTES)


def attended(model: Model, recipe: str, prompt: str, ticket: Ticket | None = None) -> Iterator[Attended | Explored]:
    """The base reads the prompt, then the setting; what was read before comes at once. Raises ReparamError."""
    parsed = Recipe.parse(recipe)
    name = (model.sha256, parsed.canonical, prompt)
    known = _shelf.get(name, Attended)
    if known is not None:
        yield known
        return
    yield Explored(doing="Reading the prompt with the base")
    before = _before(model, prompt)
    yield Explored(doing="Reading the prompt with the setting")
    untouched = parsed.canonical == Recipe.parse("base").canonical
    after = before if untouched else _after(model, parsed, prompt, before, ticket)
    yield Explored(doing="Comparing the heads", share=0.9)
    dtype = str(exploring_dtype(model)).removeprefix("torch.")
    kinds, answered = compare(before, after), before.written is not None
    yield _shelf.put(name, Attended(model.name, parsed.canonical, prompt, dtype, kinds, before.left_out, answered))


def _before(model: Model, prompt: str) -> Maps:
    """The base's maps, which every setting is compared with."""
    name = (model.sha256, "before", prompt)
    known = _shelf.get(name, Maps)
    return known or _shelf.put(name, attention(base(model, exploring_dtype(model)), prompt).halved())


def _after(model: Model, recipe: Recipe, prompt: str, before: Maps, ticket: Ticket | None) -> Maps:
    """The setting's maps; a decoder reads the base's answer, so that both are of the same tokens."""
    return attention(built(model, recipe, ticket, Explored()), prompt, before.written).halved()
