"""The numbers beside a formula are those of the very form that the method makes."""

import pytest
import torch

from reparam_core.measure.worked import first_matrix, share_of_zeros, worked
from reparam_core.methods.settings import SparsitySetting
from reparam_core.models import load
from reparam_core.parametrizations import Leaf
from reparam_core.recipes import Recipe, Step


def step_of(recipe: str) -> Step:
    (step,) = Recipe.parse(recipe).rules[0].steps.values()
    assert step is not None
    return step


@pytest.mark.parametrize("recipe", ["svd:0.3", "svd:r7", "svd:0.8p", "als:0.3"])
def test_rank_is_that_of_the_factors(recipe: str) -> None:
    step, leaf = step_of(recipe), Leaf("", torch.randn(24, 40, generator=torch.Generator().manual_seed(0)))
    form = step.method.at(step.method.prepare({"w": leaf}), {"w": leaf}, step.setting)["w"]
    assert f"r(m + n) = {form.parameters_kept} numbers" in worked((24, 40), step.setting)
    assert "break-even r = 15" in worked((24, 40), step.setting)


@pytest.mark.parametrize(("recipe", "zeros"), [("random:0.25", 240), ("random:2:4", 480), ("random:1:4", 720)])
def test_zeros_are_those_of_the_form(recipe: str, zeros: int) -> None:
    step, leaf = step_of(recipe), Leaf("", torch.randn(24, 40, generator=torch.Generator().manual_seed(0)))
    form = step.method.at(step.method.prepare({"w": leaf}), {"w": leaf}, step.setting)["w"]
    assert int((form.dense() == 0).sum()) == zeros
    assert worked((24, 40), step.setting).startswith(f"{zeros} of mn = 960 numbers are zero")
    assert isinstance(step.setting, SparsitySetting)
    assert share_of_zeros(step.setting) == zeros / 960


@pytest.mark.parametrize(("recipe", "grids", "of"), [("rtn:3g16", 72, 16), ("rtn:3", 24, 40), ("rtn:3t", 1, 960)])
def test_bytes_are_those_of_the_packed_codes(recipe: str, grids: int, of: int) -> None:
    step, leaf = step_of(recipe), Leaf("", torch.randn(24, 40, generator=torch.Generator().manual_seed(0)))
    form = step.method.at(step.method.prepare({"w": leaf}), {"w": leaf}, step.setting)["w"]
    _, packed = form.pack()
    told = worked((24, 40), step.setting)
    assert f"{packed['codes'].nbytes} bytes at most" in told
    assert f"{packed['scale'].numel()} grids of {of} numbers" in told
    assert packed["scale"].numel() == grids


def test_what_is_not_known_from_the_shape_is_said_so() -> None:
    assert "the least with 95 % of Σσ²" in worked((24, 40), step_of("svd:e0.95").setting)
    assert "t = 0.01" in worked((24, 40), step_of("magnitude:t0.01").setting)


def test_the_first_matrix_is_one_that_the_rule_covers() -> None:
    model = load("embedded-decoder")
    assert first_matrix(model, "*.mlp.down") == ("layers.0.mlp.down", model.matrices["layers.0.mlp.down"].shape)
    assert first_matrix(model, None) == ("layers.0.attention.q", (256, 256))
    assert first_matrix(model, "nowhere") is None
