"""The maps that pages share: read once, few enough, and given up when nobody wants them."""

import gc

import pytest

from reparam_core.jobs import Attended, Evaluator, Explored, Reading, attended, evaluator, stepping
from reparam_core.jobs import attention as shelf
from reparam_core.measure.attention import HeadChange
from reparam_core.models import Model, load

PROMPT = "The Congress shall have the power to declare war."


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(shelf, "_shelf", shelf._Shelf(2_000_000))
    return load("embedded-decoder")


def last(model: Model, recipe: str, prompt: str = PROMPT) -> Attended:
    reading = list(attended(model, recipe, prompt))[-1]
    assert isinstance(reading, Reading)
    assert reading.found is not None
    return reading.found


def test_what_was_read_comes_at_once(model: Model) -> None:
    first = last(model, "svd:0.3")
    (again,) = attended(model, '{"rules": [{"rank": {"method": "svd", "keep": 0.3}}]}', PROMPT)
    assert isinstance(again, Reading)
    assert again.found is first
    other = last(model, "svd:0.2")
    assert other.kinds["self-attention"].before is first.kinds["self-attention"].before, "the base is read once"


def test_the_untouched_setting_is_the_base(model: Model) -> None:
    found = last(model, "base")
    (change,) = found.kinds.values()
    assert found.untouched
    assert change.before is change.after
    assert not change.divergence.any()


def test_memory_is_bounded(model: Model) -> None:
    for keep in range(20, 32):
        last(model, f"svd:0.{keep}", PROMPT * 5)
    assert len(shelf._shelf._kept) > 1
    assert shelf._shelf.nbytes <= 2_000_000


def test_sessions_hold_no_maps_so_that_what_leaves_the_shelf_leaves_memory(model: Model) -> None:
    tickets = [Evaluator().submit(f"session {keep}", "attention", lambda keep=keep: attended(model, f"svd:0.{keep}", PROMPT * 5))
               for keep in range(20, 32)]  # fmt: skip
    assert all(ticket.wait(60) for ticket in tickets)
    gone = [ticket for ticket in tickets if ticket.latest.found is None]
    assert gone, "more than the shelf holds"
    del tickets
    gc.collect()
    maps = {id(one): one for one in gc.get_objects() if isinstance(one, HeadChange)}
    assert len(maps) <= len(shelf._shelf._kept)


def test_what_several_share_counts_once(model: Model) -> None:
    untouched, cut = last(model, "base"), last(model, "svd:0.3")
    (first,), (second,) = untouched.kinds.values(), cut.kinds.values()
    assert second.before is first.before is first.after
    expected = first.before.nbytes + second.after.nbytes
    expected += sum(one.nbytes for change in (first, second) for one in change.thumbnails.values())
    assert shelf._shelf.nbytes == expected


def test_one_too_large_is_still_kept_for_who_asked(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "_shelf", shelf._Shelf(1))
    found = last(model, "svd:0.3")
    assert list(shelf._shelf._kept.values()) == [found]


def test_it_says_what_it_does_and_may_be_given_up(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "PAUSE", 0.0)
    told = [one.doing for one in attended(model, "svd:0.33", PROMPT) if isinstance(one, Explored)]
    assert told[0] == "Reading the prompt with the base"
    assert "Rewriting layers.5.attention.q" in told, "others may overtake between layers"
    older = evaluator().submit("someone", "attention", lambda: attended(model, "svd:0.31", PROMPT))
    newer = evaluator().submit("someone", "attention", lambda: attended(model, "svd:0.32", PROMPT))
    assert newer.wait(60)
    assert older.state == "cancelled"
    assert newer.latest.found.short == "svd:0.32"
