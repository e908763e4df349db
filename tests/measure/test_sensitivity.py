"""Estimates agree with measurements, a cell behind stored states with the whole model, and splits with their budget."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reparam_core import apply, load
from reparam_core.apply import Returning
from reparam_core.gradients import answers_scored, with_gradients
from reparam_core.measure.evaluation import evaluation
from reparam_core.measure.quality import quality
from reparam_core.measure.sensitivity import (
    POSITIONS,
    Behind,
    Part,
    agreement,
    alone,
    everywhere,
    of_each,
    positions,
    scale,
    scale_of_sum,
    split,
    suited,
    uncertain,
    worst,
)
from reparam_core.models import Model
from reparam_core.parametrizations import Statistics
from reparam_core.recipes import Calibration, Recipe, Step
from reparam_core.registry import methods
from reparam_core.splits.second_order import second_order
from reparam_core.statistics import one_shot
from tests.tiny import read, saved

ROLES = ["layers.0.attention.q", "layers.1.mlp.down", "layers.3.mlp.up", "layers.2.attention.o"]
USUAL = Calibration()


@pytest.fixture(scope="module")
def decoder() -> Model:
    return load("embedded-decoder")


def step(axis: str, **said: Any) -> Step:
    return Step.parse(axis, said)


RTN = step("bits", method="rtn", bits=4, group=64)


@pytest.mark.usefixtures("own_store")
@pytest.mark.parametrize("role", ROLES)
def test_a_cell_behind_stored_states_is_the_whole_measurement(decoder: Model, role: str) -> None:
    asked = evaluation(decoder, "addresses", 2, 65)
    behind = Behind(decoder, torch.float32, asked)
    assert list(behind.reading()) == [0.0, 0.5]
    setting = apply(decoder, alone(USUAL, role, step("bits", method="rtn", bits=2, group=64)))
    found = list(behind.steps(setting))[-1]
    whole = quality(setting, asked)
    assert found.final
    assert found.nll == pytest.approx(whole.nll, abs=1e-6)
    assert found.base_nll == whole.base_nll
    assert found.interval == pytest.approx(whole.interval, abs=1e-5) if whole.interval else found.interval is None
    assert not list(behind.reading()), "the base reads once"


@pytest.mark.usefixtures("own_store")
def test_blocks_before_the_changed_one_do_not_run(decoder: Model) -> None:
    behind = Behind(decoder, torch.float32, evaluation(decoder, "addresses", 1, 33))
    list(behind.reading())
    setting, ran = apply(decoder, alone(USUAL, "layers.3.mlp.up", RTN)), list[str]()
    for layer, path in behind.paths.items():
        inside = next(one for one in setting.module.get_submodule(path).children() if list(one.parameters()))
        inside.register_forward_hook(lambda *_given, layer=layer: ran.append(layer))
    list(behind.steps(setting))
    assert ran[0] == "layers.3"


@pytest.mark.usefixtures("own_store")
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_every_family_resumes(name: str, tmp_path: Path) -> None:
    from reparam_core.measure.evaluation import of_tokens

    model = load(str(saved(tmp_path, name) / name))
    asked = of_tokens(model, read())
    behind = Behind(model, torch.float32, asked)
    list(behind.reading())
    for role in ("layers.1.attention.q", "layers.1.mlp.down"):
        setting = apply(model, alone(USUAL, role, step("bits", method="rtn", bits=2)))
        assert list(behind.steps(setting))[-1].nll == pytest.approx(quality(setting, asked).nll, abs=1e-6)


def test_the_estimate_is_its_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    inputs, change = (torch.randn(shape, generator=draw) for shape in ((30, 5), (4, 5)))
    fisher = torch.rand(4, generator=draw)
    known = Statistics(30, inputs.T @ inputs, inputs.mean(0), inputs.abs().amax(0), "", fisher=fisher)
    found = second_order(change, known, 3, 10)
    told = sum(float(fisher[o]) * float(((inputs @ change[o]) ** 2).sum()) for o in range(4))
    assert found == pytest.approx(0.5 * 10 / 3 * told / float((inputs**2).sum()), rel=1e-5)
    assert second_order(change, replace(known, gram=torch.zeros(5, 5)), 3, 10) == 0


def linear(rows: Tensor, weight: Tensor) -> Tensor:
    return rows @ weight.T


def test_of_independent_tokens_it_is_the_loss_of_a_small_change() -> None:
    """A softmax over a linear map, labels drawn from the model itself: there the Fisher information is the Hessian."""
    draw = torch.Generator().manual_seed(0)
    sequences, length, width, classes = 400, 8, 6, 5
    inputs = torch.randn(sequences, length, width, generator=draw)
    weight = 0.5 * torch.randn(classes, width, generator=draw)
    probabilities = (inputs @ weight.T).softmax(-1)
    labels = torch.multinomial(probabilities.flatten(0, 1), 1, generator=draw).view(sequences, length)
    fisher = torch.zeros(classes)
    for x, y in zip(inputs, labels, strict=True):
        own = weight.clone().requires_grad_()
        torch.nn.functional.cross_entropy(x @ own.T, y).backward()
        fisher += own.grad.square().sum(1)
    rows = inputs.flatten(0, 1)
    statistics = Statistics(len(rows), rows.T @ rows, rows.mean(0), rows.abs().amax(0), "", fisher=fisher)
    change = torch.zeros_like(weight)
    change[2] = 0.1 * torch.randn(width, generator=draw)
    after = (rows @ (weight + change).T).log_softmax(-1)
    exact = float((probabilities.flatten(0, 1) * ((rows @ weight.T).log_softmax(-1) - after)).sum(-1).mean())
    assert second_order(change, statistics, sequences, length) == pytest.approx(exact, rel=0.3)


@pytest.mark.parametrize("axis", POSITIONS)
def test_a_step_is_tried_where_it_stands_and_elsewhere_mildest_first(axis: str) -> None:
    own = {"rank": {"method": "svd", "keep": 0.45}, "sparsity": {"method": "wanda", "fraction": 0.55},
           "bits": {"method": "gptq", "bits": 5, "group": 32}}[axis]  # fmt: skip
    found = positions(step(axis, **own))
    assert step(axis, **own) in found
    assert len(found) == (7 if axis == "bits" else 10)
    assert len({one.method for one in found}) == 1
    assert [one.setting for one in positions(found[0])] == [
        one.setting for one in found if one != step(axis, **own) or axis == "bits"
    ]
    if axis == "bits":
        assert {one.setting.group for one in found} == {32}
        assert [one.setting.bits for one in found] == [8, 7, 6, 5, 4, 3, 2]


def test_a_method_of_one_width_is_tried_at_that_alone() -> None:
    assert [one.setting.bits for one in positions(step("bits", method="nf4"))] == [4]


def test_methods_that_look_at_more_than_a_matrix_are_left_out() -> None:
    every = {name: kind for axis in POSITIONS for name, kind in methods(axis).items()}
    assert {name for name, kind in every.items() if not suited(kind)} == {
        "heads", "neurons", "layers", "obs-heads", "obs-neurons", "flap-heads", "flap-neurons", "flap-layers",
        "measured-heads", "measured-layers"}  # fmt: skip


def test_recipes_say_what_was_chosen(decoder: Model) -> None:
    roles = {role: one.compressed_by_default for role, one in decoder.matrices.items()}
    blocks = [role for role, inside in roles.items() if inside]
    spared = everywhere(USUAL, RTN, ROLES[:2]).resolve(roles)
    assert set(spared) == set(blocks) - set(ROLES[:2])
    assert set(everywhere(USUAL, RTN, ROLES[:1]).resolve(roles)) == set(blocks) - set(ROLES[:1])
    two = step("bits", method="rtn", bits=2, group=64)
    own = of_each(USUAL, dict.fromkeys(blocks, RTN) | {ROLES[0]: two, ROLES[1]: None}).resolve(roles)
    assert own[ROLES[0]] == {"bits": two}
    assert ROLES[1] not in own
    assert len(own) == len(blocks) - 1
    read_by = Calibration(text="addresses-train")
    assert alone(read_by, ROLES[0], step("sparsity", method="wanda", fraction=0.5)).calibration == read_by
    assert isinstance(alone(USUAL, ROLES[0], RTN), Recipe)


def test_the_worst_are_those_that_cost_most() -> None:
    assert worst({"a": 0.1, "b": 0.3, "c": 0.2}, 2) == ["b", "c"]


parts = st.builds(Part, st.floats(0, 10), st.integers(1, 1000))


@given(st.lists(st.lists(parts, min_size=1, max_size=6), min_size=1, max_size=6), st.integers(0, 6000))
def test_a_split_keeps_its_budget_and_wastes_nothing(given_: list[list[Part]], budget: int) -> None:
    options = {str(index): [(part, part) for part in found] for index, found in enumerate(given_)}
    chosen = split(options, budget)
    spent = sum(part.bytes for part in chosen.values())
    assert spent <= max(budget, sum(min(part.bytes for part in found) for found in given_))
    for role, part in chosen.items():
        assert not any(one.loss < part.loss and one.bytes <= part.bytes for _, one in options[role])


def test_a_split_of_two_sizes_is_the_best_of_all() -> None:
    options = {name: [(bits, Part(scale * 4.0**-bits, bits)) for bits in range(2, 9)] for name, scale in (("a", 1.0), ("b", 64.0))}  # fmt: skip
    best = min(
        (options["a"][i][1].loss + options["b"][j][1].loss, i, j) for i in range(7) for j in range(7) if i + j + 4 <= 8
    )
    chosen = split(options, 8)
    assert options["a"][chosen["a"] - 2][1].loss + options["b"][chosen["b"] - 2][1].loss == pytest.approx(best[0])


def test_agreement_is_of_eight_cells_at_least() -> None:
    few = {str(index): float(index) for index in range(7)}
    assert agreement(few, few) is None
    many = few | {"7": 7.0}
    found = agreement(many, many | {"not estimated": 1.0})
    assert (found.correlation, found.cells) == (pytest.approx(1.0), 8)
    assert agreement(many, dict.fromkeys(many, 1.0)) is None


def test_estimates_are_scaled_to_what_eight_cells_at_least_measured() -> None:
    estimated = {str(index): 2.0 for index in range(9)}
    measured = {str(index): 0.5 + index / 7 for index in range(8)}
    assert scale(estimated, measured) == pytest.approx(0.5)
    assert scale(estimated, dict(list(measured.items())[:7])) is None
    assert scale(estimated, dict.fromkeys(measured, -0.1)) is None  # where nothing was lost there is no scale to learn


def test_estimates_are_scaled_to_what_all_together_lost() -> None:
    assert scale_of_sum([0.2, 0.4], 0.1) == pytest.approx(1 / 6)
    assert scale_of_sum([0.2, 0.4], -0.01) is None
    assert scale_of_sum([0.0, 0.0], 0.1) is None


def test_the_estimates_of_a_kind_that_was_missed_far_are_the_most_uncertain() -> None:
    estimated = {(RTN, f"layers.{layer}.{kind}"): 1.0 + layer / 100 for layer in range(6) for kind in ("mlp.up", "mlp.down", "attention.q")}  # fmt: skip
    found = {(RTN, f"layers.{layer}.mlp.up"): 0.5 for layer in range(4)}
    found |= {(RTN, f"layers.{layer}.mlp.down"): 0.1 + 0.4 * layer for layer in range(3)}
    assert uncertain(estimated, found) == estimated, "below eight cells what is large can miss most"
    found[RTN, "layers.3.mlp.down"] = 1.3
    doubt = uncertain(estimated, found)
    down, query, up = (doubt[RTN, f"layers.5.{kind}"] for kind in ("mlp.down", "attention.q", "mlp.up"))
    assert down > query > up > 0, "of a kind that has no measured cell yet the doubt is that of all"
    assert doubt[RTN, "layers.5.mlp.down"] > doubt[RTN, "layers.4.mlp.down"], "in one kind the largest estimate"


@pytest.mark.usefixtures("own_store")
def test_estimates_order_the_cells_of_a_model(decoder: Model) -> None:
    text, asked = read_text(decoder), evaluation(decoder, "addresses", 4, 129)
    roles = [role for role, one in decoder.matrices.items() if one.compressed_by_default]
    known = drained(with_gradients(decoder, drained(one_shot(decoder, roles, text)), roles, text))
    whole = apply(decoder, "rtn:2g64")
    behind = Behind(decoder, torch.float32, asked)
    list(behind.reading())
    estimated, found = dict[str, float](), dict[str, float]()
    for role, form in whole.forms.items():
        change = form.dense() - decoder.weight(role)
        estimated[role] = second_order(change, known[role], len(text.ids), answers_scored(decoder, 256))
        one = list(behind.steps(apply(decoder, alone(USUAL, role, step("bits", method="rtn", bits=2, group=64)))))[-1]
        found[role] = one.nll - one.base_nll
    agreed = agreement(estimated, found)
    assert agreed.cells == len(roles)
    assert agreed.correlation > 0.7


def read_text(model: Model) -> Any:
    from reparam_core.data import calibration

    return calibration(model, "mixture", 8, 256)


def drained(work: Any) -> Any:
    steps = Returning(work)
    list(steps)
    return steps.value
