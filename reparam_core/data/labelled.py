"""Labelled tables: questions with their answers, shipped or the user's own CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import lzma
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reparam_core.data.texts import DATA, decoded, shipped
from reparam_core.errors import MOST_QUOTED, ReparamError, quoted, shortened

TEXT_COLUMNS = ("text", "sentence", "input", "question", "prompt")
ANSWER_COLUMNS = ("label", "answer", "target", "output", "iso", "sentiment")
LAST_WORDS = 200
LEAST_ROWS = 16  # of a table: an interval is drawn from as many answers at least
MOST_CHOICES = 20  # different labels of the user's own table from which a language model chooses


@dataclass(frozen=True)
class Row:
    """A text, its true answer, and what it was to be chosen from (empty: anything)."""

    text: str
    answer: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Labelled rows under a name."""

    name: str
    rows: tuple[Row, ...]

    @property
    def sha256(self) -> str:
        """Of every field of every row."""
        told = "\n".join("\t".join((row.text, row.answer, *row.choices)) for row in self.rows)
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def labels(self) -> list[str]:
        """The distinct answers, sorted."""
        return sorted({row.answer for row in self.rows})

    @property
    def majority(self) -> float:
        """The share that the commonest answer gets right; its place in the list, where each row has its own choices."""
        own = len({row.choices for row in self.rows}) > 1
        given = [row.choices.index(row.answer) if own else row.answer for row in self.rows]
        return max(Counter(given).values()) / len(given)

    @property
    def notes(self) -> tuple[str, ...]:
        """What its figures do not tell."""
        few = len(self.rows) < LEAST_ROWS
        return (
            (f"{len(self.rows)} rows are scored: from fewer than {LEAST_ROWS} no interval can be told",) if few else ()
        )

    def first(self, count: int) -> Table:
        """The first rows of it."""
        return Table(self.name, self.rows[:count])


@dataclass(frozen=True)
class Entry:
    """A shipped table: what it asks, what is told of it, and how it is read."""

    title: str
    short: str  # as a menu shows it, where a question is too long
    words: str  # what a sentence calls it
    domains: frozenset[str]  # what kinds of text it is
    read: Callable[[], tuple[Row, ...]]


def _shipped_rows(file: str) -> list[dict[str, str]]:
    raw = (DATA / file).read_bytes()
    text = (lzma.decompress(raw) if file.endswith(".xz") else raw).decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _reviews() -> tuple[Row, ...]:
    """Film-review sentences that no training saw, as a fixed shuffle so that any first part is balanced."""
    rows = [
        Row(one["text"], "positive" if float(one["rating"]) > 0 else "negative", ("negative", "positive"))
        for one in _shipped_rows("movie_reviews.csv.xz")
        if one["split"] == "held_out"
    ]
    random.Random(0).shuffle(rows)
    return tuple(rows)


def _dates() -> tuple[Row, ...]:
    """Dates that no training saw, half of them in phrasings that it did not see either."""
    rows = [Row(one["text"], one["iso"]) for one in _shipped_rows("dates.csv") if one["split"] != "train"]
    random.Random(0).shuffle(rows)
    return tuple(rows)


def _among(rows: Sequence[tuple[str, str]], seed: int) -> tuple[Row, ...]:
    """Each answer among four: itself and three of the others', its place going round."""
    draw, every = random.Random(seed), sorted({answer for _, answer in rows})
    found = []
    for index, (text, answer) in enumerate(rows):
        others = draw.sample([one for one in every if one != answer], 3)
        others.insert(index % 4, answer)
        found.append(Row(text, answer, tuple(others)))
    return tuple(found)


def _state_capitals() -> tuple[Row, ...]:
    pairs = [(f"The capital of {one['state']} is", one["capital"]) for one in _shipped_rows("state_capitals.csv")]
    random.Random(0).shuffle(pairs)
    return _among(pairs, 0)


def _last_words() -> tuple[Row, ...]:
    """Sentences of the held-out addresses whose last word, of six letters or more, is left out."""
    sentences = re.findall(r"(?<=[.?!] )[A-Z][^.?!\n]{80,240}(?=[.?!] )", shipped("addresses").content)
    pairs = [(head, last) for head, _, last in (one.rpartition(" ") for one in sentences) if last.isalpha()]
    long = [(head, last) for head, last in pairs if len(last) >= 6 and last.islower()]
    return _among(random.Random(0).sample(long, min(LAST_WORDS, len(long))), 1)


TABLES = {
    "movie-reviews": Entry("Is the review good or bad?", "Good or bad reviews", "film reviews", frozenset({"reviews"}),
                           _reviews),
    "last-words": Entry("Which word comes last?", "Last words", "last words", frozenset({"addresses"}), _last_words),
    "state-capitals": Entry("Which is its capital?", "State capitals", "state capitals", frozenset({"capitals"}),
                            _state_capitals),
    "dates": Entry("Which date is meant?", "Written dates", "written dates", frozenset({"dates"}), _dates),
}  # fmt: skip


@cache
def shipped_table(name: str) -> Table:
    """A shipped table by name."""
    return Table(name, TABLES[name].read())


def is_labelled(name: str) -> bool:
    """Is it a table rather than a running text?"""
    return name in TABLES or name.lower().endswith(".csv")


def table(name: str) -> Table:
    """A shipped table, or the user's CSV. Raises ReparamError for what is no table of texts and answers."""
    if name in TABLES:
        return shipped_table(name)
    try:
        content = Path(name).read_bytes()
    except FileNotFoundError:
        raise ReparamError(
            f"There is no table {quoted(name)}.", f"Known: {', '.join(TABLES)}; or a CSV file."
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ReparamError(f"{quoted(name)} cannot be read: {reason}.", "Give a CSV file in UTF-8.") from None
    return parsed(decoded(content, quoted(name)), Path(name).name)


def parsed(content: str, name: str) -> Table:
    """A CSV with a header: one column of texts, one of answers that are not all the same.

    Raises ReparamError naming what is missing.
    """
    header, rows = _cells(content, name)
    columns = {(one or "").strip().lower(): one for one in header}
    text, answer = (next((columns[one] for one in names if one in columns), None)
                    for names in (TEXT_COLUMNS, ANSWER_COLUMNS))  # fmt: skip
    if text is None or answer is None:
        raise ReparamError(
            f"{name} needs a column of texts and one of answers; it has {shortened(', '.join(columns), MOST_QUOTED) or 'no header'}.",
            "Name them text and label in its first line.",
        )
    pairs = [((one[text] or "").strip(), (one[answer] or "").strip()) for one in rows]
    whole = [pair for pair in pairs if all(pair)]
    if not whole:
        raise ReparamError(f"{name} has no row with both a text and an answer.", "Give two at least.")
    labels = tuple(sorted({one for _, one in whole}))
    if len(labels) < 2:
        raise ReparamError(f"Every row of {name} has the same answer, {quoted(labels[0])}, so that nothing can be got wrong.",
                           "Give rows with 2 different answers at least.")  # fmt: skip
    choices = labels if len(labels) <= MOST_CHOICES else ()
    return Table(name, tuple(Row(one, given, choices) for one, given in whole))


def _cells(content: str, name: str) -> tuple[list[str], list[dict[str, str | None]]]:
    """The header, and the rows by it. Raises ReparamError for a cell without end."""
    reader = csv.DictReader(io.StringIO(content, newline=""))
    try:
        return list(reader.fieldnames or ()), list(reader)
    except csv.Error:  # the one that the reader has for a text
        raise ReparamError(f"{name} is no table: a cell near line {reader.line_num} is longer than {csv.field_size_limit():,} "
                           "characters.", "Look there for a quotation mark that is never closed, or shorten the cell.") from None  # fmt: skip
