"""Tables: shipped ones are fair, the user's are read as spreadsheets write them, mistakes are one line."""

import csv
import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reparam_core.data import TABLES, table
from reparam_core.data.labelled import Row, Table, parsed
from reparam_core.errors import ReparamError

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=12).filter(str.strip)


@pytest.mark.parametrize("name", TABLES)
def test_every_shipped_table_can_be_answered(name: str) -> None:
    found = table(name)
    assert len(found.rows) >= 48
    assert table(name).sha256 == found.sha256
    assert all(row.text.strip() and row.answer.strip() for row in found.rows)
    assert all(not row.choices or row.choices.count(row.answer) == 1 for row in found.rows)
    assert len({(row.text, row.answer) for row in found.rows}) > 0.95 * len(found.rows)


@pytest.mark.parametrize("name", ["last-words", "state-capitals"])
def test_four_candidates_whose_places_give_nothing_away(name: str) -> None:
    rows = table(name).rows
    assert {len(set(row.choices)) for row in rows} == {4}
    places = Counter(row.choices.index(row.answer) for row in rows)
    assert max(places.values()) - min(places.values()) <= 1


def test_any_first_part_of_the_reviews_is_about_balanced() -> None:
    for count in (96, 400, 1500):
        first = table("movie-reviews").first(count)
        assert len(first.rows) == count
        assert first.majority < 0.62
        assert first.rows == table("movie-reviews").rows[:count]


@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=2, max_size=12, unique_by=lambda pair: pair[1].strip()),
    st.sampled_from(["text,label", "Label , TEXT", "id,input,Answer"]),
)
def test_a_spreadsheet_is_read_as_it_was_written(pairs: list[tuple[str, str]], header: str) -> None:
    """Commas, quotes and line ends inside a cell, other orders of columns, blank rows."""
    names = [one.strip().lower() for one in header.split(",")]
    written = io.StringIO()
    written.write(header + "\n")
    for index, (question, given_answer) in enumerate(pairs):
        cells = (
            {"id": str(index)}
            | dict.fromkeys(("text", "input"), question)
            | dict.fromkeys(("label", "answer"), given_answer)
        )
        csv.writer(written).writerow([cells[name] for name in names])
        csv.writer(written).writerow([""] * len(names))
    found = parsed(written.getvalue(), "mine.csv")
    assert [(row.text, row.answer) for row in found.rows] == [(one.strip(), two.strip()) for one, two in pairs]
    labels = {answer.strip() for _, answer in pairs}
    assert set(found.rows[0].choices) == labels
    assert found.majority == max(Counter(two.strip() for _, two in pairs).values()) / len(pairs)


@pytest.mark.parametrize(("rows", "told"), [(15, 1), (16, 0)])
def test_few_rows_say_that_no_interval_can_be_told(rows: int, told: int) -> None:
    found = parsed("text,label\n" + "\n".join(f"q{index},{index % 2}" for index in range(rows)), "t")
    assert [note for note in found.notes if "15 rows" in note and "fewer than 16 no interval" in note] == [*found.notes]
    assert len(found.notes) == told


def test_more_than_twenty_answers_are_no_choice() -> None:
    for count, offered in ((20, 20), (21, 0)):
        found = parsed("text,label\n" + "\n".join(f"q{i},a{i}" for i in range(count)), "t")
        assert {len(row.choices) for row in found.rows} == {offered}


@given(st.lists(st.builds(Row, WORDS, WORDS), min_size=2, max_size=5, unique=True))
def test_a_fingerprint_is_of_every_row(rows: list[Row]) -> None:
    whole = Table("t", tuple(rows))
    assert whole.sha256 == Table("other name", tuple(rows)).sha256
    assert whole.sha256 != whole.first(len(rows) - 1).sha256
    assert whole.sha256 != Table("t", tuple(reversed(rows))).sha256


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no header"),
        ("question only\nwhy", "it has question only"),
        ("text,label\n,\n , \n", "no row with both"),
        ("text,label\n" + "same,same\n" * 20, "same answer, 'same'"),
        ('text,label\n"' + "never closed " * 20_000, "longer than 131,072 characters. .* never closed, or shorten"),
        ("text," + "l" * 140_000, "longer than 131,072 characters"),
    ],
)
def test_what_is_no_table_is_one_line(content: str, told: str) -> None:
    with pytest.raises(ReparamError, match=told) as caught:
        parsed(content, "mine.csv")
    assert "mine.csv" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["missing.csv", "a" * 300 + ".csv"])
def test_a_missing_table_is_one_line(name: str) -> None:
    with pytest.raises(ReparamError, match=r"no table|cannot be read"):
        table(name)
