"""Reference cards: what is published of a method, and what its authors' code and this one give on one protocol."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from reparam_core.recipes import Recipe

CARDS = Path(__file__).resolve().parents[2] / "assets" / "methods"
REFERENCES, MEASURED = CARDS / "references.json", CARDS / "measured.json"
BASE = "base"  # the untouched model among the runs


@dataclass(frozen=True)
class Published:
    """A figure from the literature, with the conditions under which it holds."""

    claim: str
    source: str


@dataclass(frozen=True)
class Run:
    """One recipe on the protocol's texts: perplexities of the authors' own code and of this one, None where not run."""

    recipe: str
    reference: Mapping[str, float]  # by text
    perplexity: Mapping[str, float]
    delta_nll: Mapping[str, list[float] | None]  # nats above the untouched model, 95 % paired interval
    measured: str  # when and on what
    untouched: Mapping[str, float] = field(default_factory=dict)  # this code's perplexity of the base, by text

    @property
    def methods(self) -> frozenset[str]:
        """Whose run it is: every rewrite and every method in its recipe, a preset's too."""
        return _named(self.recipe)

    def ratio(self, text: str) -> float | None:
        """This code's perplexity against the reference's: at most 1.02 is the goal."""
        if text not in self.reference or text not in self.perplexity:
            return None
        return self.perplexity[text] / self.reference[text]

    def gap(self, text: str) -> tuple[float, float, float] | None:
        """ln of that ratio, and where it lies by what chance the text left in this code's figure alone, in nats.

        The reference's losses are known as one figure, so that nothing is paired with them: the interval is that of this
        code's rise above the base, moved by ln(reference / base), and wider than a paired one would be.
        """
        ratio, interval = self.ratio(text), self.delta_nll.get(text)
        if ratio is None or interval is None or text not in self.untouched:
            return None
        rise = math.log(self.reference[text] / self.untouched[text])
        return math.log(ratio), interval[0] - rise, interval[1] - rise


@dataclass(frozen=True)
class Card:
    """What stands on one method's card."""

    published: list[Published]
    runs: list[Run]


@cache
def protocol() -> dict[str, Any]:
    """How the runs were made: protocol and code in words, texts with title and sequences."""
    told = _read(REFERENCES)
    return {name: told[name] for name in ("protocol", "code", "texts")}


def runs() -> list[Run]:
    """Every run of the protocol, measured or not, in the order of its table."""
    found = {row["recipe"]: row for row in _read(MEASURED)["rows"]}
    untouched = found.get(BASE, {}).get("perplexity", {})
    return [_run(told, found.get(told["recipe"], {}), untouched) for told in _read(REFERENCES)["runs"]]


def _run(told: Mapping[str, Any], found: Mapping[str, Any], untouched: Mapping[str, float]) -> Run:
    reference = {text: float(told[text]) for text in protocol()["texts"] if text in told}
    return Run(told["recipe"], reference, found.get("perplexity", {}), found.get("delta_nll", {}),
               found.get("measured", ""), untouched)  # fmt: skip


def card(method: str) -> Card:
    """Of the method or the rewrite of that name; empty where nothing is known."""
    published = [Published(one["claim"], one["source"]) for one in _read(REFERENCES)["published"]
                 if method in one["methods"]]  # fmt: skip
    return Card(published, [one for one in runs() if method in one.methods])


@cache
def _named(recipe: str) -> frozenset[str]:
    parsed = Recipe.parse(recipe)
    steps = [step for rule in parsed.rules for step in rule.steps.values() if step is not None]
    return frozenset(one.name for one in parsed.transform) | {step.method.name for step in steps}


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
