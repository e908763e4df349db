"""Texts that ship with the project, and the user's own."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import lzma
import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from reparam_core.errors import ReparamError, quoted

SENTENCES = "sentences"  # the text that any other is mixed with
DATA = Path(__file__).resolve().parents[2] / "assets" / "data"


@dataclass(frozen=True)
class Text:
    """A text with its name and a fingerprint."""

    name: str
    content: str

    @cached_property
    def sha256(self) -> str:
        """Of its UTF-8 bytes."""
        return hashlib.sha256(self.content.encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A shipped text, with what is told of it; what is scored was held out of all training."""

    title: str  # as a menu shows it
    words: str  # what a sentence calls it
    domains: frozenset[str]  # what kinds of text it is: those that are fitted to one carry over within it
    read: Callable[[], str]
    scores: tuple[str, ...] = ()  # models of these objectives; none where it is for calibration


def _addresses(split: str) -> str:
    with lzma.open(DATA / "addresses.jsonl.xz", "rt", encoding="utf-8") as lines:
        return "\n\n".join(one["text"] for one in map(json.loads, lines) if one["split"] == split)


def _novel() -> str:
    return lzma.open(DATA / "moby_dick.txt.xz", "rt", encoding="utf-8").read()


def _reviews() -> str:
    with lzma.open(DATA / "movie_reviews.csv.xz", "rt", encoding="utf-8", newline="") as lines:
        return "\n".join(row["text"] for row in csv.DictReader(lines) if row["split"] == "held_out")


def _twenties() -> list[str]:
    """Sentences of reviews, tweets and editorials, shuffled, twenty together."""
    sentences = []
    for file in ("movie_reviews", "tweets", "product_reviews", "editorials"):
        with lzma.open(DATA / f"{file}.csv.xz", "rt", encoding="utf-8", newline="") as lines:
            sentences += [row["text"] for row in csv.DictReader(lines) if row["split"] == "train"]
    random.Random(0).shuffle(sentences)
    return ["\n".join(sentences[start : start + 20]) for start in range(0, len(sentences), 20)]


def _mixture() -> str:
    """A quarter early addresses, the rest sentences: a piece of an address, then three twenties of its length.

    A mixture costs a fifth in domain and is worth a factor of four out of it.
    """
    twenties = _twenties()
    threes = [twenties[start : start + 3] for start in range(0, len(twenties), 3)]
    pieces = _pieces(_addresses("train"), [sum(map(len, three)) // 3 for three in threes])
    return "\n\n".join(part for piece, three in zip(pieces, threes, strict=True) for part in (piece, *three))


def _pieces(whole: str, lengths: Iterable[int]) -> Iterator[str]:
    """The text from its beginning on in pieces of at most so many characters, cut where a sentence ends, else a word."""
    start = 0
    for length in lengths:
        piece = whole[start : start + length]
        sentence = max(piece.rfind(stop) for stop in (". ", "? ", "! ", "\n"))
        end = (sentence if sentence >= 0 else piece.rfind(" ")) + 1 or length
        yield piece[:end].strip()
        start += end


def _sentences() -> str:
    """What the mixture takes beside the addresses."""
    return "\n\n".join(_twenties())


def _dates() -> str:
    """For calibration of a model that reads dates: as they are written, one a line."""
    with open(DATA / "dates.csv", encoding="utf-8", newline="") as lines:
        dates = [row["text"] for row in csv.DictReader(lines) if row["split"] == "train"]
    random.Random(0).shuffle(dates)
    return "\n".join(dates)


ENTRIES = {
    "addresses": Entry("Presidential addresses", "the addresses", frozenset({"addresses"}), lambda: _addresses("held_out"),
                       ("causal", "masked")),
    "moby-dick": Entry("Moby Dick, a novel", "the novel", frozenset({"novel"}), _novel,
                       ("causal",)),  # the embedded encoder was pretrained on it
    "reviews": Entry("Film reviews", "the reviews", frozenset({"reviews"}), _reviews, ("causal", "masked")),
    "mixture": Entry("A mixture of texts", "the mixture", frozenset({"addresses", "reviews"}), _mixture),
    "addresses-train": Entry("Training addresses", "training addresses", frozenset({"addresses"}),
                             lambda: _addresses("train")),
    SENTENCES: Entry("Sentences", "sentences", frozenset({"reviews"}), _sentences),
    "dates-train": Entry("Training dates", "training dates", frozenset({"dates"}), _dates),
}  # fmt: skip


@cache
def shipped(name: str) -> Text:
    """A shipped text. Raises ReparamError with the known names."""
    if name not in ENTRIES:
        raise ReparamError(f"There is no text {quoted(name)}.", f"Known: {', '.join(ENTRIES)}; or a file.")
    return Text(name, ENTRIES[name].read())


def text(name: str) -> Text:
    """A shipped text by name, or the user's file. Raises ReparamError for what is empty or no text."""
    if name in ENTRIES or not os.path.exists(name):  # which swallows what no path can be
        return shipped(name)
    content = io.StringIO(decoded(_bytes(name), quoted(name)), newline=None).read()  # line ends of every system
    if not content.strip():
        raise ReparamError(f"{quoted(name)} is empty.", "Give a text with at least a few sentences.")
    return Text(Path(name).name, content)


def fingerprint(name: str) -> str:
    """SHA-256 of a shipped text, or of the user's file as it is now; empty where there is neither."""
    if name in ENTRIES:
        return shipped(name).sha256
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except (OSError, ValueError):
        return ""


def _bytes(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ReparamError(f"{quoted(name)} cannot be read: {error.strerror}.", "Give a plain text file.") from None


def decoded(content: bytes, what: str) -> str:
    """The text of a user's file, called `what`. Raises ReparamError for what is no UTF-8, or binary though it is."""
    try:
        found = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ReparamError(
            f"{what} is no text: it holds bytes that are not UTF-8.", "Save it as plain text in UTF-8."
        ) from None
    if "\0" in found:  # of UTF-8 it is a character, of a text never
        raise ReparamError(f"{what} is no text: it holds NUL bytes.", "Save it as plain text in UTF-8.")
    return found
