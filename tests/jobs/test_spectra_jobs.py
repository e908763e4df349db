"""What the spectra page asks for: found once, resumed from the store, given up when nobody wants it."""

import pytest
import torch

from reparam_core import store
from reparam_core.apply import apply
from reparam_core.jobs import (
    CutQuality,
    Evaluator,
    Layers,
    als_losses,
    compared_layers,
    compared_spectrum,
    cut_qualities,
    cut_recipe,
    exploring,
    ladder,
    on_one_base,
    progress_of,
    seen_roles,
    stepping,
)
from reparam_core.jobs import spectra as jobs
from reparam_core.measure.spectra import singular_values
from reparam_core.methods.rank.als import ALS
from reparam_core.models import Model

ROLE = "layers.2.attention.q"
pytestmark = pytest.mark.usefixtures("few_tokens")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the matrices that were taken apart."""
    seen: list[tuple[int, ...]] = []

    def counting(weight: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(weight.shape))
        return singular_values(weight)

    monkeypatch.setattr(jobs, "singular_values", counting)
    return seen


def last(model: Model, recipe: str) -> Layers:
    return list(compared_layers(model, recipe))[-1]


def test_every_matrix_fills_in_once_and_a_second_visit_computes_nothing(model: Model, counted: list) -> None:
    steps = list(compared_layers(model, "base"))
    assert [one.done for one in steps] == list(range(steps[-1].total + 1)), (
        "its length is known before the first is found"
    )
    assert set(steps[-1].before) == {role for role, one in model.matrices.items() if one.compressed_by_default}
    found = len(counted)
    assert found == steps[-1].total
    assert last(model, "base").before.keys() == steps[-1].before.keys()
    assert len(counted) == found


def test_what_was_abandoned_half_way_goes_on_where_it_stopped(model: Model, counted: list) -> None:
    steps = compared_layers(model, "base")
    for _ in range(6):
        next(steps)
    assert len(counted) == 5
    total = last(model, "base").total
    assert len(counted) == total


def test_a_cancelled_job_stops_at_its_next_step(model: Model, counted: list) -> None:
    ticket = Evaluator().submit("a", "layers", lambda: compared_layers(model, "base"), "background")
    while ticket.latest is None and ticket.pending:
        ticket.wait(0.01)
    ticket.cancel()
    done = len(counted)
    assert ticket.state == "cancelled"
    ticket.wait(1)
    assert len(counted) <= done + 1


def test_after_is_the_spectrum_of_the_setting_and_only_of_what_it_changes(model: Model) -> None:
    recipe = '{"rules": [{"where": "*attention.q", "rank": {"method": "svd", "rank": 16}, "bits": {"method": "rtn", "bits": 4}}]}'
    first, *_, found = list(compared_spectrum(model, ROLE, recipe))
    assert first.after is None
    assert found.after is not None
    known = singular_values(apply(model, recipe).forms[ROLE].dense())
    assert torch.allclose(found.after.sigma, known, rtol=1e-4, atol=1e-6 * float(known[0]))
    assert found.change == pytest.approx(0.7, abs=0.3)
    (alone,) = compared_spectrum(model, "layers.2.mlp.up", recipe)
    assert alone.after is None
    layers = last(model, recipe)
    assert set(layers.after) == {role for role in layers.before if role.endswith("attention.q")}
    risen = layers.values(lambda one: one.entropy, "difference")
    assert risen[ROLE] < 0 == risen["layers.2.mlp.up"]
    assert layers.values(lambda one: one.entropy, "after")[ROLE] == pytest.approx(found.after.entropy)


def test_a_cut_of_one_matrix_is_measured_once_coarse_to_fine(model: Model) -> None:
    steps = [one for one in cut_qualities(model, ROLE, "addresses", [64, 8]) if one]
    assert list(steps[0]) == [64]
    found = steps[-1]
    assert list(found) == [64, 8]
    assert found[8].scored == "1,280 tokens in float32, sequences of 257, every position but the first scored"
    assert found[8].value > found[8].base == found[64].base
    for one in found.values():
        assert one.final
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.value <= one.high
    again = list(cut_qualities(model, ROLE, "addresses", [64, 8]))
    assert len(again) == 2, "from the store, one step a rank"
    assert again[-1] == found


@pytest.mark.parametrize("full", [1, 2, 128, 576])
def test_the_ladder_is_of_ranks_that_there_are_each_once(full: int) -> None:
    ranks = ladder(full)
    assert ranks[-1] == 1 or full <= 4
    assert len(set(ranks)) == len(ranks)
    assert all(1 <= one <= full for one in ranks)


def test_a_setting_of_many_matrices_is_built_in_steps_that_others_can_overtake(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "PAUSE", 0.0)
    recipe = '{"rules": [{"sparsity": {"method": "magnitude", "fraction": 0.5, "scope": "model"}}]}'
    steps = list(compared_spectrum(model, ROLE, recipe))
    assert len(steps) > 2
    assert all(one.after is None for one in steps[:-1])
    assert steps[-1].after is not None
    assert len(list(compared_spectrum(model, ROLE, recipe))) == 2, "the second time from the store"


def test_an_estimate_says_how_far_it_is(model: Model) -> None:
    steps = [one for one in exploring.explored(model, cut_recipe(ROLE, 64), ["addresses"]) if one.points]
    known = progress_of(model, steps[-1].points["addresses"])
    assert (known.done, known.total, known.seconds_left) == (1280, 1280, 0)


def test_an_estimate_is_told_beside_the_base_on_all_tokens() -> None:
    whole = CutQuality(8, 44.0, 40.0, 43.0, 45.0, False, True, True)
    early = CutQuality(4, 55.0, 50.0, 50.0, 60.0, False, False, True)
    first, second = on_one_base([whole, early])
    assert first.rank == 4
    assert [first.value, first.base, first.low, first.high] == pytest.approx([44.0, 40.0, 40.0, 48.0])
    assert second is whole
    share = CutQuality(4, 0.7, 0.8, None, None, True, False, True)
    assert on_one_base([share, CutQuality(8, 0.6, 0.75, None, None, True, True, True)])[0].value == pytest.approx(0.65)
    assert on_one_base([]) == []


def test_als_is_kept_round_by_round(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = list(als_losses(model, ROLE, 16))
    assert [len(one) for one in steps] == list(range(1, len(steps) + 1))
    assert steps[-1] == sorted(steps[-1], reverse=True)
    monkeypatch.setattr(ALS, "rounds", None)
    assert list(als_losses(model, ROLE, 16)) == [steps[-1]]


def test_als_is_given_up_when_nobody_waits(model: Model) -> None:
    ticket = Evaluator().submit("a", "als", lambda: als_losses(model, ROLE, 100))
    while ticket.latest is None and ticket.pending:
        ticket.wait(0.01)
    ticket.cancel()
    assert ticket.state == "cancelled"
    assert store.store().all(model.sha256) == []


def test_single_rows_have_no_spectrum_to_speak_of(model: Model) -> None:
    roles = seen_roles(model)
    assert ROLE in roles
    assert all(min(model.matrices[role].shape) > 1 for role in roles)


def test_a_cut_is_a_recipe_for_that_matrix_alone(model: Model) -> None:
    assert list(apply(model, cut_recipe(ROLE, 3)).forms) == [ROLE]
