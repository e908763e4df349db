"""What pages ask: an estimate that is refined, kept once it is whole, abandoned without a trace, shared by sessions."""

import json
import threading
from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from reparam_core import apply, load, store
from reparam_core.apply import Setting, finished
from reparam_core.jobs import (
    Evaluator,
    Explored,
    compared,
    detailed,
    evaluator,
    explored,
    explored_before,
    exploring,
    measured_so_far,
    stepping,
    swept,
)
from reparam_core.jobs.exploring import asked_of, building, conversed
from reparam_core.measure.generation import said
from reparam_core.measure.quality import paired_interval, quality
from reparam_core.models import Model
from reparam_core.recipes import Recipe

BOTH = ["addresses", "moby-dick"]


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store of its own, six sequences of 65, an estimate after two of them."""
    monkeypatch.setenv("REPARAM_CACHE", str(tmp_path / "cache"))
    for name, value in (("SEQUENCES", {True: 6, False: 6}), ("LENGTH", 65), ("FIRST", {True: 128, False: 128})):
        monkeypatch.setattr(exploring, name, value)
    monkeypatch.setattr(exploring, "_built", exploring._Built())
    exploring._asked.clear()
    store.reopen()
    yield
    store.reopen()
    exploring._asked.clear()


@pytest.fixture(scope="module")
def model() -> Model:
    return load("embedded-decoder")


def built(model: Model, recipe: str | Recipe) -> Setting:
    return finished(building(model, recipe))


def finals(found: Explored) -> list[str]:
    return [name for name, point in found.points.items() if point.final]


def test_an_estimate_of_each_text_comes_first_and_is_refined_in_turn(model: Model) -> None:
    steps = [step for step in explored(model, "rtn:4", BOTH) if step.points]
    assert [(name, point.tokens) for name, point in steps[0].points.items()] == [("addresses", 128)]
    both = next(step for step in steps if len(step.points) == 2)
    assert {point.tokens for point in both.points.values()} == {128}  # no text waits for the other to be whole
    assert finals(both) == []
    tokens = [sum(point.tokens for point in step.points.values()) for step in steps]
    assert tokens == sorted(tokens)
    assert finals(steps[-1]) == BOTH
    assert {point.tokens for point in steps[-1].points.values()} == {6 * 64}


def test_the_final_point_is_what_measuring_finds(model: Model) -> None:
    recipe = "svd:0.5 + rtn:6"
    (*_, last) = explored(model, recipe, ["addresses"])
    point, setting = last.points["addresses"], apply(model, recipe)
    found = quality(setting, asked_of(model, "addresses"))
    assert point.perplexity == pytest.approx(found.perplexity)
    assert point.delta_nll == pytest.approx(found.nll - found.base_nll)
    assert (point.accuracy, point.flips) == (found.accuracy, found.flips)
    assert (point.bytes, point.parameters, point.recipe) == (
        setting.bytes,
        setting.parameters,
        setting.recipe.canonical,
    )
    assert json.loads(json.dumps(asdict(point), allow_nan=False))


def test_what_was_measured_is_there_at_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    (*_, first) = explored(model, "rtn:4", ["addresses"])
    exploring._asked.clear()
    store.reopen()  # as after a restart
    monkeypatch.setattr(exploring, "building", lambda *_: pytest.fail("built again"))
    (again,) = explored(model, '{"rules": [{"bits": {"bits": 4, "method": "rtn"}}]}', ["addresses"])
    known, kept = (asdict(one.points["addresses"]) for one in (first, again))
    assert kept.pop("seen") > 0
    known.pop("seen")
    assert json.loads(json.dumps(known)) == json.loads(json.dumps(kept))


def test_what_was_measured_before_is_told_without_work_once_its_source_was_asked_for(model: Model) -> None:
    assert explored_before(model, "rtn:4", ["addresses"]) is None
    (*_, last) = explored(model, "rtn:4", ["addresses"])
    found = explored_before(model, "rtn:4", ["addresses"])
    assert found is not None
    assert found.points["addresses"].perplexity == last.points["addresses"].perplexity
    assert explored_before(model, "rtn:4", BOTH) is None
    exploring._asked.clear()
    assert explored_before(model, "rtn:4", ["addresses"]) is None


def test_only_what_is_missing_is_measured(model: Model) -> None:
    list(explored(model, "rtn:4", ["addresses"]))
    first, *_, last = explored(model, "rtn:4", BOTH)
    assert finals(first) == ["addresses"]
    assert list(last.points) == BOTH


def test_a_cancelled_ticket_leaves_no_partial_result(model: Model) -> None:
    worker, gate, ready = Evaluator(), threading.Event(), threading.Event()

    def slowly() -> Iterator[Explored]:
        for step in explored(model, "rtn:3", BOTH):
            yield step
            if step.points:
                ready.set()
                gate.wait(30)

    ticket = worker.submit("a", "quality", slowly)
    assert ready.wait(60)
    ticket.cancel()
    gate.set()
    after = worker.submit("a", "other", lambda: iter([1]))
    assert after.wait(30)
    assert ticket.state == "cancelled"
    assert store.store().all(model.sha256) == []
    assert measured_so_far(model, "addresses") == []


def test_a_ticket_that_is_over_stops_the_rewriting(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "PAUSE", 0.0)
    steps = explored(model, "rtn:5", BOTH)
    assert isinstance(steps, Generator)
    assert next(steps).doing.startswith("Rewriting layers.")
    steps.close()  # what the evaluator does with a job that is over: it asks for no further step
    assert exploring._built.get((model.sha256, Recipe.parse("rtn:5").canonical, torch.float32)) is None
    assert built(model, "rtn:5").forms  # and nothing half-built was kept


def test_progress_of_the_rewriting_is_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "PAUSE", 0.0)
    told = [one for one in explored(model, "magnitude:0.3", BOTH) if one.doing.startswith("Rewriting layers.")]
    shares = [one.share for one in told if one.share is not None]
    assert shares == sorted(shares)
    assert 0 < shares[1] < shares[-1] < 1


def test_two_sessions_share_one_evaluator_and_what_was_built(model: Model) -> None:
    worker = evaluator()
    assert worker is evaluator()
    tickets = [
        worker.submit(session, "quality", lambda: explored(model, "svd:0.4", BOTH)) for session in ("one", "two")
    ]
    assert all(ticket.wait(120) for ticket in tickets)
    assert [ticket.state for ticket in tickets] == ["done", "done"]
    one, two = (ticket.latest for ticket in tickets)
    assert finals(one) == finals(two) == BOTH
    assert [point.perplexity for point in one.points.values()] == [point.perplexity for point in two.points.values()]
    assert built(model, "svd:0.4") is built(model, Recipe.parse("svd:0.4"))


def test_few_settings_stay_in_memory(model: Model) -> None:
    first = built(model, "rtn:8")
    for bits in range(2, 2 + exploring.BUILT):
        built(model, f"rtn:{bits}")
    assert built(model, f"rtn:{2 + exploring.BUILT - 1}") is built(model, f"rtn:{2 + exploring.BUILT - 1}")
    assert built(model, "rtn:8") is not first


def test_points_are_compared_over_what_both_were_asked(model: Model) -> None:
    (*_, one), (*_, other) = explored(model, "rtn:3", BOTH), explored(model, "svd:0.5", BOTH)
    found = compared(one.points["moby-dick"], other.points["moby-dick"])
    asked = asked_of(model, "moby-dick")
    own, theirs = (quality(apply(model, recipe), asked).setting for recipe in ("rtn:3", "svd:0.5"))
    difference = own.loss.double() - theirs.loss.double()
    assert found is not None
    assert found.nll == pytest.approx(float(difference.mean()), rel=1e-4)
    assert found.accuracy == pytest.approx(float(own.right.double().mean() - theirs.right.double().mean()))
    assert found.nll_interval is paired_interval(difference) is None  # six blocks
    assert compared(one.points["moby-dick"], other.points["addresses"]) is None


def test_a_sweep_skips_what_is_known_and_counts(model: Model) -> None:
    recipes = ["rtn:8", "rtn:4", "rtn:2"]
    list(explored(model, "rtn:4", ["addresses"]))
    counts = list(swept(model, recipes, ["addresses"]))
    assert counts[-1] == (3, 3)
    assert counts == sorted(counts)
    assert counts.count((1, 3)) == 1  # found, not measured
    known = {point.short: point for point in measured_so_far(model, "addresses")}
    assert set(recipes) <= set(known)
    assert known["rtn:8"].perplexity < known["rtn:4"].perplexity < known["rtn:2"].perplexity


def test_points_that_were_asked_otherwise_are_not_shown(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    list(explored(model, "rtn:4", ["addresses"]))
    assert measured_so_far(model, "moby-dick") == []
    monkeypatch.setattr(exploring, "LENGTH", 33)
    exploring._asked.clear()
    assert measured_so_far(model, "addresses") == []


def test_what_another_version_kept_is_measured_again(model: Model) -> None:
    (*_, last) = explored(model, "rtn:4", ["addresses"])
    for name, value, _ in store.store().all(model.sha256):
        store.store().put(name, {**value, "of_old": 1}, model=model.sha256, recipe=value["recipe"])
    assert measured_so_far(model, "addresses") == []
    (*_, again) = explored(model, "rtn:4", ["addresses"])
    assert again.points["addresses"].perplexity == last.points["addresses"].perplexity


def test_details_come_as_they_are_known_and_are_kept_whole(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploring, "task_steps", lambda setting: iter([{"capitals": {"n": 4}}]))
    first, *_, last = (one for one in detailed(model, "rtn:4") if one.claims)
    assert first.claims
    assert (first.changes, first.latency, first.tasks) == (None, None, None)
    assert not first.timed
    assert last.changes
    assert last.latency is not None
    assert last.timed
    assert last.tasks == {"capitals": {"n": 4}}
    assert {one.what for one in last.claims or []} > {one.what for one in first.claims}
    (kept,) = detailed(model, "rtn:4")
    assert kept.seen > 0
    assert json.dumps(asdict(kept) | {"seen": 0.0}) == json.dumps(asdict(last))


def test_details_that_were_abandoned_are_not_kept(model: Model) -> None:
    next(detailed(model, "rtn:4"))
    assert store.store().all(model.sha256) == []


def test_base_and_setting_speak_after_the_same_prompt(model: Model) -> None:
    steps = list(conversed(model, "rtn:3", "The people", 4, 0.0, 0))
    assert steps[0][1] == ""
    assert steps[-1] == (
        list(said(apply(model, "base"), "The people", 4))[-1],
        list(said(apply(model, "rtn:3"), "The people", 4))[-1],
    )


def test_a_large_model_is_explored_in_bfloat16_where_that_is_quicker(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gains, large in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(exploring, "bfloat16_gains", lambda gains=gains: gains)
        monkeypatch.setattr(exploring, "LARGE", 50_000_000)
        assert exploring.exploring_dtype(model) == torch.float32
        monkeypatch.setattr(exploring, "LARGE", model.parameters - 1)
        assert exploring.exploring_dtype(model) == large
