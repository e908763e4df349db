"""The maps that pages share: read once, few enough, and given up when nobody wants them."""

import pytest

from reparam_core.jobs import Attended, Explored, attended, evaluator
from reparam_core.jobs import attention as shelf
from reparam_core.models import Model, load

PROMPT = "The Congress shall have the power to declare war."


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr(shelf, "_shelf", shelf._Shelf(2_000_000))
    return load("embedded-decoder")


def last(model: Model, recipe: str, prompt: str = PROMPT) -> Attended:
    found = list(attended(model, recipe, prompt))[-1]
    assert isinstance(found, Attended)
    return found


def test_what_was_read_comes_at_once(model: Model) -> None:
    first = last(model, "svd:0.3")
    assert list(attended(model, '{"rules": [{"rank": {"method": "svd", "keep": 0.3}}]}', PROMPT)) == [first]
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
    held = shelf._shelf._kept.values()
    assert len(held) > 1
    assert sum(one.nbytes for one in held) <= 2_000_000


def test_one_too_large_is_still_kept_for_who_asked(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "_shelf", shelf._Shelf(1))
    found = last(model, "svd:0.3")
    assert list(shelf._shelf._kept.values()) == [found]


def test_it_says_what_it_does_and_may_be_given_up(model: Model) -> None:
    steps = attended(model, "svd:0.3", PROMPT)
    assert isinstance(next(steps), Explored)
    older = evaluator().submit("someone", "attention", lambda own: attended(model, "svd:0.31", PROMPT, own))
    newer = evaluator().submit("someone", "attention", lambda own: attended(model, "svd:0.32", PROMPT, own))
    assert newer.wait(60)
    assert older.state == "cancelled"
    assert newer.latest.short == "svd:0.32"
