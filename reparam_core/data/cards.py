"""Reference cards: what is published of a method, and what its authors' code and this one give on one protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

CARDS = Path(__file__).resolve().parents[2] / "assets" / "methods"
REFERENCES, MEASURED = CARDS / "references.json", CARDS / "measured.json"


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

    @property
    def method(self) -> str:
        """Whose run it is: a recipe of one step, or what is rewritten before one."""
        return self.recipe.partition(" + ")[0].partition(":")[0]

    def ratio(self, text: str) -> float | None:
        """This code's perplexity against the reference's: at most 1.02 is the goal."""
        if text not in self.reference or text not in self.perplexity:
            return None
        return self.perplexity[text] / self.reference[text]


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
    texts = protocol()["texts"]
    return [_run(told, found.get(told["recipe"], {}), texts) for told in _read(REFERENCES)["runs"]]


def _run(told: Mapping[str, Any], found: Mapping[str, Any], texts: Mapping[str, Any]) -> Run:
    reference = {text: float(told[text]) for text in texts if text in told}
    return Run(
        told["recipe"], reference, found.get("perplexity", {}), found.get("delta_nll", {}), found.get("measured", "")
    )


def card(method: str) -> Card:
    """Of the method of that name; empty where nothing is known."""
    published = [Published(one["claim"], one["source"]) for one in _read(REFERENCES)["published"]
                 if method in one["methods"]]  # fmt: skip
    return Card(published, [one for one in runs() if one.method == method])


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
