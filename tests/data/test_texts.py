"""The shipped texts are there and apart from each other; a user's file is read as people write files."""

import re
from pathlib import Path

import pytest

from reparam_core.data import ENTRIES, TABLES, text
from reparam_core.errors import ReparamError
from reparam_core.measure.evaluation import DEFAULT_SOURCES, RUNNING
from reparam_core.measure.tasks import TASKS
from reparam_core.recipes import Calibration


@pytest.mark.parametrize("name", ENTRIES)
def test_every_shipped_text_is_there_and_the_same_each_time(name: str) -> None:
    found = text(name)
    assert len(found.content) > 50_000
    assert text(name).sha256 == found.sha256
    assert "\ufffd" not in found.content
    assert ENTRIES[name].title


def test_menus_and_sentences_have_what_they_need_of_every_text_and_table() -> None:
    titles = [one.title for one in ENTRIES.values()] + [one.short for one in TABLES.values()]
    words = [one.words for one in (*ENTRIES.values(), *TABLES.values())]
    assert all(3 < len(one) < 30 and one[0].isupper() for one in titles)
    assert all(3 < len(one) < 25 and one[0].islower() for one in words)
    assert len({*titles}) == len(titles)
    assert len({*words}) == len(words)
    assert all(one.domains for one in (*ENTRIES.values(), *TABLES.values()))
    assert all(set(one.scores) <= set(RUNNING) for one in ENTRIES.values())


def test_what_is_usual_is_offered() -> None:
    for objective, source in DEFAULT_SOURCES.items():
        assert source in TASKS.get(objective, {}) or objective in ENTRIES[source].scores
    assert not ENTRIES[Calibration().text].scores, "nothing is scored on what is usually calibrated on"


def sentences(name: str) -> set[str]:
    return {one for one in re.split(r"(?<=[.?!])\s+|\n", text(name).content) if len(one) > 80}


def test_what_is_scored_is_in_no_training_text() -> None:
    trained = sentences("addresses-train") | sentences("mixture") | sentences("sentences")
    assert not sentences("reviews") & trained
    held_out = sentences("addresses")
    assert len(held_out & trained) < 0.005 * len(held_out)  # presidents quote themselves


def test_a_quarter_of_the_mixture_is_of_addresses_the_earliest_first() -> None:
    parts = text("mixture").content.split("\n\n")
    early = text("addresses-train").content[:1_000_000]
    places = {one: place for one in parts if (place := early.find(one)) >= 0}
    beginning = text("mixture").content[:141_000].split("\n\n")  # what 64 × 512 tokens are
    for some in (beginning, parts):
        assert 0.2 < sum(len(one) for one in some if one in places) / sum(map(len, some)) < 0.3
    assert list(places.values()) == sorted(places.values())
    last, end = list(places.items())[-1]
    assert sum(map(len, places)) > 0.99 * (end + len(last)), "nothing is left out from the earliest on"
    assert sum(one.endswith((".", "?", "!")) for one in places) > 0.9 * len(places)


@pytest.mark.parametrize("written", ["The Congress.\nÄ 京", "\ufeffThe Congress.\nÄ 京", "The Congress.\r\nÄ 京"])
def test_marks_and_line_ends_of_other_systems_are_no_text(written: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(written.encode())
    assert text(str(file)).content == "The Congress.\nÄ 京"
    assert text(str(file)).name == "mine.txt"


def test_a_shipped_name_is_the_shipped_text_whatever_lies_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moby-dick").write_text("mine", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert text("moby-dick").content != "mine"
    assert text("./moby-dick").content == "mine"


@pytest.mark.parametrize("name", ["no-such-text", "a" * 400, "", "nul\0", "/no/such/file"])
def test_what_is_no_text_names_the_known_ones(name: str) -> None:
    with pytest.raises(ReparamError, match="Known: addresses, moby-dick"):
        text(name)


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ReparamError, match="cannot be read"):
        text(str(tmp_path))
