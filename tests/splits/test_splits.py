"""Settings of their own for the matrices: at the same cost, by what each would lose."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reparam_core import ReparamError, apply, load
from reparam_core.apply import Returning
from reparam_core.methods.base import Method
from reparam_core.methods.settings import BitsSetting, RankSetting, SparsitySetting
from reparam_core.models import Model
from reparam_core.parametrizations import Leaf, Statistics
from reparam_core.recipes import Recipe
from reparam_core.registry import AXES, methods, split, splits
from reparam_core.splits.second_order import second_order
from tests.tiny import read, saved

PLAIN = {"rank": methods()["svd"](), "sparsity": methods()["magnitude"](), "bits": methods()["rtn"]()}
SHAPES = {"layers.0.mlp.up": (12, 8), "layers.0.mlp.down": (8, 12), "layers.1.attention.q": (8, 8)}


def made(seed: int, shapes: Mapping[str, tuple[int, int]] = SHAPES) -> dict[str, Leaf]:
    """Matrices whose spectra fall at different rates, behind inputs of very different sizes."""
    draw = torch.Generator().manual_seed(seed)
    leaves = {}
    for index, (role, (rows, columns)) in enumerate(shapes.items()):
        weight = torch.randn(rows, columns, generator=draw) * torch.logspace(0, -index, columns)
        inputs = torch.randn(64, columns, generator=draw) * torch.logspace(0, 1, columns)
        fisher = torch.rand(rows, generator=draw) * 10.0**index
        statistics = Statistics(
            64, inputs.T @ inputs, inputs.mean(0), inputs.abs().amax(0), f"{seed}{role}", fisher=fisher
        )
        leaves[role] = Leaf("", weight, statistics=statistics)
    return leaves


def settled(name: str, axis: str, setting: Any, leaves: Mapping[str, Leaf], method: Method | None = None) -> Any:
    """The settings that a split finds for a method, by default the plainest of the axis."""
    kind = method or PLAIN[axis]
    steps = Returning(
        split(name, axis).settings(kind, setting, leaves, lambda role: kind.prepare({f"{role}\n": leaves[role]}))
    )
    assert all(0 <= share < 1 for share in steps)
    return steps.value


def lost(leaf: Leaf, rank: int) -> float:
    energy = torch.linalg.svdvals(leaf.weight).double().square()
    return float(energy[rank:].sum() / energy.sum())


@given(st.integers(0, 10**6), st.sampled_from([{"keep": 0.4}, {"parameters": 0.6}, {"rank": 3}]))
def test_ranks_by_energy_keep_more_of_it_than_one_rank_for_all(seed: int, given_: dict[str, Any]) -> None:
    leaves, setting = made(seed), RankSetting(**given_)
    found = settled("energy", "rank", setting, leaves)
    same = {role: setting.resolve(shape) for role, shape in SHAPES.items()}
    cost = {role: sum(shape) for role, shape in SHAPES.items()}
    budget = sum(same[role] * cost[role] for role in SHAPES)
    spent = sum(found[role].rank * cost[role] for role in SHAPES)
    assert spent <= budget + max(cost.values())  # every matrix has one rank at least
    # Whole ranks leave up to one matrix's step unspent, which is worth at most the best gain that was not taken.
    slack = max(lost(leaf, found[role].rank) - lost(leaf, found[role].rank + 1) for role, leaf in leaves.items())
    own, uniform = (sum(lost(leaf, ranks[role]) for role, leaf in leaves.items())
                    for ranks in ({role: one.rank for role, one in found.items()}, same))  # fmt: skip
    assert own <= uniform + slack + 1e-9


def test_a_share_of_energy_is_split_already() -> None:
    with pytest.raises(ReparamError, match="rank of its own already"):
        split("energy", "rank").refuse(RankSetting(energy=0.9))


@given(st.integers(0, 10**6), st.floats(0.05, 0.95))
def test_layers_with_outliers_are_pruned_less_and_the_whole_as_much_as_asked(seed: int, fraction: float) -> None:
    leaves = made(seed)
    found = settled("outliers", "sparsity", SparsitySetting(fraction=fraction), leaves)
    sizes = {role: leaf.weight.numel() for role, leaf in leaves.items()}
    mean = sum(found[role].fraction * sizes[role] for role in leaves) / sum(sizes.values())
    assert mean == pytest.approx(fraction, abs=1e-6)
    assert found["layers.0.mlp.up"] == found["layers.0.mlp.down"]  # a layer has one share
    assert all(abs(one.fraction - fraction) <= 2 * 0.08 + 1e-6 for one in found.values())


def test_the_layer_with_more_outliers_keeps_more() -> None:
    leaves = made(0, {"layers.0.mlp.up": (16, 16), "layers.1.mlp.up": (16, 16)})
    flat = Statistics(64, torch.eye(16), torch.zeros(16), torch.ones(16), "flat")
    even = Leaf("", torch.ones(16, 16), statistics=flat)
    spiked = torch.ones(16, 16)
    spiked[0, 0] = 100.0
    leaves = {"layers.0.mlp.up": even, "layers.1.mlp.up": Leaf("", spiked, statistics=flat)}
    found = settled("outliers", "sparsity", SparsitySetting(fraction=0.5), leaves)
    assert found["layers.1.mlp.up"].fraction == pytest.approx(0.5 - 0.08)
    assert found["layers.0.mlp.up"].fraction == pytest.approx(0.5 + 0.08)


def test_layers_that_are_alike_are_pruned_alike() -> None:
    one = Leaf("", torch.ones(8, 8), statistics=Statistics(64, torch.eye(8), torch.zeros(8), torch.ones(8), "flat"))
    leaves = {"layers.0.mlp.up": one, "layers.1.mlp.up": one}
    found = settled("outliers", "sparsity", SparsitySetting(fraction=0.3), leaves)
    assert {each.fraction for each in found.values()} == {0.3}
    with pytest.raises(ReparamError, match="share of zeros"):
        split("outliers", "sparsity").refuse(SparsitySetting(pattern="2:4"))


@given(st.integers(0, 10**6), st.integers(2, 8))
def test_bits_by_the_output_lose_no_more_at_no_more_bits(seed: int, bits: int) -> None:
    leaves, setting = made(seed), BitsSetting(bits=bits, group=4)
    found = settled("output", "bits", setting, leaves)
    sizes = {role: leaf.weight.numel() for role, leaf in leaves.items()}
    assert sum(found[role].bits * sizes[role] for role in leaves) <= bits * sum(sizes.values())
    assert all(2 <= one.bits <= 8 and one.group == 4 for one in found.values())
    if bits in (2, 8):
        assert {one.bits for one in found.values()} == {bits}


ASKED = st.sampled_from([
    ("svd", RankSetting(keep=0.4)), ("whitened-svd", RankSetting(parameters=0.6)), ("whitened-als", RankSetting(keep=0.3)),
    ("magnitude", SparsitySetting(fraction=0.5)), ("wanda", SparsitySetting(fraction=0.85)), ("sparsegpt", SparsitySetting(fraction=0.1)),
    ("rtn", BitsSetting(bits=3, group=4)), ("gptq", BitsSetting(bits=4)), ("hqq", BitsSetting(bits=2, group=8)),
    ("codebook", BitsSetting(bits=8)),
])  # fmt: skip


def cost(setting: Any, shape: tuple[int, int]) -> int:
    """Numbers kept, or bits."""
    if isinstance(setting, RankSetting):
        return setting.resolve(shape) * sum(shape)
    if isinstance(setting, SparsitySetting):
        return shape[0] * (shape[1] - int(setting.fraction * shape[1]))
    return setting.bits * shape[0] * shape[1]


def estimated(method: Method, settings: Mapping[str, Any], leaves: Mapping[str, Leaf]) -> float:
    """The sum of the second-order losses of what the method makes."""
    return sum(second_order(form.dense() - leaf.weight, leaf.statistics) for role, leaf in leaves.items()
               for form in method.at(method.prepare({role: leaf}), {role: leaf}, settings[role]).values())  # fmt: skip


@given(st.integers(0, 10**6), ASKED)
def test_a_split_by_loss_costs_no_more_and_is_estimated_to_lose_no_more(seed: int, asked: tuple[str, Any]) -> None:
    leaves, method, setting = made(seed), methods()[asked[0]](), asked[1]
    found = settled("loss", method.axis, setting, leaves, method)
    assert sum(cost(found[role], SHAPES[role]) for role in leaves) <= sum(
        cost(setting, SHAPES[role]) for role in leaves
    )
    if method.instant:  # of what searches a quick one is estimated
        same = estimated(method, dict.fromkeys(leaves, setting), leaves)
        assert estimated(method, found, leaves) <= same * (1 + 1e-6)


@given(st.integers(0, 10**6), ASKED)
def test_matrices_that_are_alike_get_what_was_asked(seed: int, asked: tuple[str, Any]) -> None:
    """Behind inputs that are alike too, so that each further rank, number or bit buys less than the one before it."""
    weight, method = made(seed)["layers.0.mlp.up"].weight, methods()[asked[0]]()
    flat = Statistics(64, torch.eye(8), torch.zeros(8), torch.ones(8), "flat", fisher=torch.ones(12))
    leaves = {f"layers.{layer}.mlp.up": Leaf("", weight, statistics=flat) for layer in range(3)}
    found = settled("loss", method.axis, asked[1], leaves, method)
    assert {cost(one, weight.shape) for one in found.values()} == {cost(asked[1], weight.shape)}


def test_the_matrix_that_the_loss_asks_more_of_keeps_more() -> None:
    one = made(0)["layers.0.mlp.up"]
    assert one.statistics is not None
    dear = replace(one, statistics=replace(one.statistics, fisher=100 * one.statistics.fisher))
    leaves = {"layers.0.mlp.up": one, "layers.1.mlp.up": dear}
    assert [each.bits for each in settled("loss", "bits", BitsSetting(bits=4), leaves).values()] == [3, 5]
    cheap, spared = settled("loss", "sparsity", SparsitySetting(fraction=0.5), leaves).values()
    assert cheap.fraction > 0.5 > spared.fraction
    cheap, spared = settled("loss", "rank", RankSetting(rank=4), leaves).values()
    assert cheap.rank <= 4 <= spared.rank


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(str(saved(tmp_path_factory.mktemp("split"), "llama") / "llama"))


SPREAD = ("svd:0.5@energy whitened-svd:0.5@energy magnitude:0.5@outliers rtn:4g8@output "
          "whitened-svd:0.5@loss als:0.5@loss wanda:0.5@loss magnitude:0.5@loss rtn:4g8@loss gptq:4g8@loss").split()  # fmt: skip


@pytest.mark.parametrize("recipe", SPREAD)
def test_a_split_costs_what_the_one_setting_would_and_differs(model: Model, recipe: str) -> None:
    own = apply(model, recipe, calibration=read())
    same = apply(model, recipe.partition("@")[0], calibration=read())
    assert own.parameters <= same.parameters * 1.02
    assert own.bytes <= same.bytes * 1.02
    assert Recipe.parse(json_of(recipe)).canonical == Recipe.parse(recipe).canonical
    assert Recipe.parse(recipe).short() == recipe


def json_of(recipe: str) -> str:
    return Recipe.parse(recipe).canonical


@pytest.mark.parametrize("name", ["outliers", "loss"])
def test_behind_compressed_blocks_a_split_still_comes_from_the_base(model: Model, name: str) -> None:
    own = apply(model, f"wanda:0.5@sequential@{name}", calibration=read())
    share = {role: float((form.dense() == 0).double().mean()) for role, form in own.forms.items()}
    assert len({round(one, 2) for one in share.values()}) > 1


@pytest.mark.parametrize("recipe", ["gptq:4g8@output@sequential", "magnitude:0.5@outliers", "svd:0.5@energy"])
def test_a_split_prepares_nothing_that_goes_unread(
    recipe: str, model: Model, own_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a split reads of the method is what the method itself reads then; statistics that only the split needs are no part of it."""
    name = recipe.partition(":")[0]
    made, whole = list[str](), methods()[name].prepare

    def noted(method: Any, leaves: Mapping[str, Leaf]) -> Any:
        made.extend(leaves)
        assert method.needs or all(leaf.statistics is None for leaf in leaves.values())
        return whole(method, leaves)

    monkeypatch.setattr(methods()[name], "prepare", noted)
    setting = apply(model, recipe, calibration=read())
    assert len(made) == len(setting.forms)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("svd:0.5@outliers", "statistics"),
        ("rtn:4@nothing", "statistics"),
        ({"rules": [{"rank": {"method": "svd", "keep": 0.5, "split": "no"}}]}, "Unknown split of rank 'no'. Known: energy, loss"),
        (
            {"rules": [{"sparsity": {"method": "magnitude", "fraction": 0.5, "scope": "model", "split": "outliers"}}]},
            "spreads its setting over each model itself",
        ),
        ("als:0.5@energy", "it has no singular values to split by"),
        ("nf4@output", "it has not every width from 2 to 8 bits"),
        ("binary@output", "it has not every width from 2 to 8 bits"),
        ("nf4@loss", "it has one width alone"),
        ("heads:0.5@loss", "spreads its setting over each"),
        ("wanda:2:4@loss", "Only a share of zeros can be split"),
        ("svd:e0.9@loss", "rank of its own already"),
        ("codebook:1@output", "begins at 2 bits, and 1 is asked"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_refused(model: Model, recipe: Any, told: str) -> None:
    with pytest.raises(ReparamError, match=told):
        apply(model, recipe)


def test_every_split_says_what_it_is() -> None:
    found = [one for axis in AXES for one in splits(axis).values()]
    assert [one.name for one in found] == ["energy", "loss", "loss", "outliers", "loss", "output"]
    assert all(one.summary and one.formula and type(one).__doc__ for one in found)
