"""Where a step applies, as the menus say it: a kind of matrix, and which layers; and the glob that says the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = {
    "Q/K/V": ("attention Q/K/V", "*.{q,k,v}"),
    "Attention": ("attention", "*.{attention,cross}.*"),
    "MLP": ("the MLP", "*.mlp.*"),
    "Blocks": ("all blocks", None),
    "Embedding": ("embedding and head", "{embedding,head}"),
    "Everything": ("every matrix", "*"),
}
MOST_NAMED = 3  # roles of a list that a sentence tells
# What follows a layer's number, for the kinds of which only some layers can be meant.
IN_BLOCKS = {"Q/K/V": "*.{q,k,v}", "Attention": "{attention,cross}.*", "MLP": "mlp.*", "Blocks": "*"}


@dataclass(frozen=True)
class Place:
    """A kind of matrix, in all layers or from one to another."""

    kind: str
    layers: tuple[int, int] | None = None

    @property
    def glob(self) -> str | None:
        """As a rule's `where` has it; None: every matrix of the blocks."""
        every = KINDS[self.kind][1]
        if self.layers is None or self.kind not in IN_BLOCKS:
            return every
        first, last = self.layers
        return f"*layers.{{{first}..{last}}}.{IN_BLOCKS[self.kind]}"

    @property
    def words(self) -> str:
        """`attention Q/K/V of layers 4 to 9`."""
        name = KINDS[self.kind][0]
        if self.layers is None or self.kind not in IN_BLOCKS:
            return name
        first, last = self.layers
        return f"{name} of layer {first}" if first == last else f"{name} of layers {first} to {last}"


def place_of(glob: str | None) -> Place | None:
    """The place that a rule's `where` says; None where the menus cannot say it."""
    layers = re.match(r"\*layers\.\{(\d+)\.\.(\d+)\}\.", glob or "")
    found = (int(layers.group(1)), int(layers.group(2))) if layers else None
    return next((place for kind in KINDS if (place := Place(kind, found)).glob == glob), None)


def where_words(where: str | None) -> str:
    """`attention Q/K/V`, `8 matrices` of a list of more than a few, else the glob itself."""
    place = place_of(where)
    if place is not None:
        return place.words
    listed = re.fullmatch(r"\{([^{}]+)\}", where or "")
    count = len(listed[1].split(",")) if listed else 1
    return f"{count} matrices" if count > MOST_NAMED else str(where)
