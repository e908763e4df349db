"""The user's own texts and tables are kept by content, whole or not at all."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reparam_core.data import keep_own, own_sources, own_title, table, text
from reparam_core.data.own import MOST_BYTES, SHOWN
from reparam_core.errors import ReparamError

pytestmark = pytest.mark.usefixtures("own_store")

ROWS = b"A fine film.,positive\nA dull film.,negative\n"
TABLE = b"text,label\n" + 8 * ROWS


def test_the_same_content_is_the_same_file() -> None:
    one, again, other = (keep_own(content, ".txt") for content in (b"The same.", b"The same.", b"Another."))
    assert one == again != other
    assert text(str(one)).content == "The same."
    assert own_sources(".csv") == []


def test_it_is_called_by_its_file_or_its_first_words() -> None:
    named, plain, other = (
        keep_own(b"One.", ".txt", "my notes/2"),
        keep_own(b"Call me Ishmael. Some.", ".txt"),
        b"\xe2\x80\xa6",
    )
    assert own_title(str(named)) == "my notes 2"
    assert own_title(plain.name) == "Call me Ishmael Some"
    assert own_title(str(keep_own(other, ".txt"))) == "text", "no word in it"
    assert len(keep_own("長い文章".encode() * 40, ".txt").name.encode()) < 60
    assert own_title("moby-dick") is None
    assert keep_own(b"One.", ".txt", "another name") == named, "the same content keeps its first name"


def test_a_table_is_checked_before_it_is_kept() -> None:
    assert [row.answer for row in table(str(keep_own(TABLE, ".csv"))).rows] == ["positive", "negative"] * 8
    with pytest.raises(ReparamError, match="column of texts"):
        keep_own(b"a,b\n1,2\n", ".csv")
    assert len(own_sources(".csv")) == 1


def test_a_table_of_few_rows_is_kept_and_one_of_one_answer_is_not() -> None:
    assert len(table(str(keep_own(b"text,label\n" + ROWS, ".csv"))).rows) == 2
    with pytest.raises(ReparamError, match="same answer, 'positive'"):
        keep_own(b"text,label\n" + 20 * b"A fine film.,positive\n", ".csv")
    assert len(own_sources(".csv")) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b" \n\t", "is empty"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (bytes(5000), "NUL bytes"),
        (b"x" * (MOST_BYTES + 1), "at most 20 MB"),
    ],
)
def test_what_cannot_be_kept_leaves_nothing_behind(content: bytes, told: str) -> None:
    with pytest.raises(ReparamError, match=told):
        keep_own(content, ".txt")
    assert own_sources(".txt") == []


def test_the_newest_come_first_and_not_all_of_them() -> None:
    for index in range(SHOWN + 3):
        os.utime(keep_own(f"Text {index}.".encode(), ".txt"), (index, index))
    shown = [text(one).content for one in own_sources(".txt")]
    assert shown == [f"Text {index}." for index in range(SHOWN + 2, 2, -1)]


def test_two_sessions_may_keep_the_same_at_once() -> None:
    with ThreadPoolExecutor(8) as threads:
        paths = set(threads.map(lambda _: keep_own(b"The same. " * 10_000, ".txt"), range(32)))
    (path,) = paths
    assert path.read_bytes() == b"The same. " * 10_000
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_what_does_not_suit_is_not_kept() -> None:
    def never(path: Path) -> None:
        assert text(str(path)).content == "A text."
        raise ReparamError(f"{path.name} does not suit.")

    with pytest.raises(ReparamError, match=r"own-\w+-A-text\.txt does not suit"):
        keep_own(b"A text.", ".txt", suits=never)
    assert own_sources(".txt") == []
    kept = keep_own(b"A text.", ".txt")
    with pytest.raises(ReparamError):
        keep_own(b"A text.", ".txt", suits=never)
    assert own_sources(".txt") == [str(kept)], "what was kept before stays"


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reparam_core.data.own.os.replace", full)
    with pytest.raises(ReparamError, match="No space left on device"):
        keep_own(b"A text.", ".txt")
    assert own_sources(".txt") == []
