"""What the attention page asks of the evaluator: the maps of a prompt before and after, kept in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor

from reparam_core.apply import base
from reparam_core.jobs.exploring import Explored, building, exploring_dtype
from reparam_core.jobs.stepping import stepping
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
    def read(self) -> int:
        """Tokens of the prompt that were read, where it was cut."""
        return max(len(change.keys) for change in self.kinds.values())

    @property
    def tensors(self) -> list[Tensor]:
        """What takes memory."""
        return [one for change in self.kinds.values() for one in change.tensors]


class _Sized(Protocol):
    @property
    def tensors(self) -> list[Tensor]: ...


Kept = TypeVar("Kept", bound=_Sized)
Name = tuple[str, ...]


class _Shelf:
    """The maps asked for last, shared by every session; the oldest go when there are too many bytes."""

    def __init__(self, most: int) -> None:
        self._kept: OrderedDict[Name, Any] = OrderedDict()
        self._most, self._lock = most, threading.Lock()

    def get(self, name: Name, kind: type[Kept]) -> Kept | None:
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            found = self._kept.get(name)
        return found if isinstance(found, kind) else None

    def put(self, name: Name, value: Kept) -> Kept:
        with self._lock:
            self._kept[name] = value
            while len(self._kept) > 1 and self.nbytes > self._most:
                self._kept.popitem(last=False)
        return value

    @property
    def nbytes(self) -> int:
        """Memory of all that is kept; what several share counts once."""
        return sum({one.data_ptr(): one.nbytes for kept in self._kept.values() for one in kept.tensors}.values())


_shelf = _Shelf(KEPT_BYTES)


@dataclass(frozen=True)
class Reading:
    """Where a prompt's maps lie. Sessions keep this and never the maps, so that memory does not grow with sessions."""

    model: str
    name: Name

    @property
    def found(self) -> Attended | None:
        """The maps; None once newer ones took their room."""
        return _shelf.get(self.name, Attended)


def attended(model: Model, recipe: str, prompt: str) -> Iterator[Reading | Explored]:
    """The base reads the prompt, then the setting; what was read before comes at once. Raises ReparamError."""
    parsed = Recipe.parse(recipe)
    reading = Reading(model.name, (model.sha256, parsed.canonical, prompt))
    if reading.found is None:
        yield Explored(doing="Reading the prompt with the base")
        before = _before(model, prompt)
        untouched = parsed.canonical == Recipe.parse("base").canonical
        after = before if untouched else (yield from _after(model, parsed, prompt, before))
        yield Explored(doing="Comparing the heads", share=0.9)
        dtype = str(exploring_dtype(model)).removeprefix("torch.")
        kinds, answered = compare(before, after), before.written is not None
        found = Attended(model.name, parsed.canonical, prompt, dtype, kinds, before.left_out, answered)
        _shelf.put(reading.name, found)
    yield reading


def _before(model: Model, prompt: str) -> Maps:
    """The base's maps, which every setting is compared with."""
    name = (model.sha256, "before", prompt)
    known = _shelf.get(name, Maps)
    return known or _shelf.put(name, attention(base(model, exploring_dtype(model)), prompt).halved())


def _after(model: Model, recipe: Recipe, prompt: str, before: Maps) -> Generator[Explored, None, Maps]:
    """The setting's maps; a decoder reads the base's answer, so that both are of the same tokens."""
    setting = yield from stepping(building(model, recipe), lambda share, what: Explored(doing=what, share=0.8 * share))
    yield Explored(doing="Reading the prompt with the setting", share=0.8)
    return attention(setting, prompt, before.written).halved()
