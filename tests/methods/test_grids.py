"""Grids with a free zero point: exact where the numbers lie on one, never behind the whole range, finite at the edges."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.grids import Grid, free, groups_of, nearest, searched
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Quantized
from tests.methods.leaves import inputs, leaf, matrix, output_error, transformed


def lost(grid: Grid, weight: Tensor, setting: BitsSetting, cost: Tensor) -> Tensor:
    """Σ cost · (w − w′)² of every group."""
    form = Quantized(nearest(weight, grid, setting), grid.scale, grid.zero, setting.bits, setting.group)
    return groups_of((weight - form.dense()).square() * cost, setting.group).sum(-1)


@pytest.mark.parametrize("bits", [2, 3, 4])
@given(seed=st.integers(0, 999), far=st.integers(-200, 200))
def test_numbers_on_a_grid_find_it(bits: int, seed: int, far: int) -> None:
    """As in a file whose groups keep a scale and a least number (llama.cpp's Q4_1)."""
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randint(2**bits, (6, 4, 16), generator=draw)
    codes[..., 0], codes[..., 1] = 0, 2**bits - 1  # both ends are in use
    scale = (torch.rand(6, 4, 1, generator=draw) + 0.1).half().float()
    weight = ((codes + far / 8) * scale).reshape(6, 64)
    grid = free(weight, BitsSetting(bits=bits, group=16), torch.ones(64))
    assert torch.equal(grid.scale.float(), scale.squeeze(-1))
    assert torch.equal(nearest(weight, grid, BitsSetting(bits=bits, group=16)), codes.reshape(6, 64).to(torch.uint8))


@given(seed=st.integers(0, 999), group=st.sampled_from([8, 24, None]), bits=st.sampled_from([2, 3, 4, 8]))
def test_no_group_loses_more_than_on_its_whole_range(seed: int, group: int | None, bits: int) -> None:
    setting, weight = BitsSetting(bits=bits, group=group), matrix((5, 40), seed) + seed % 3
    cost = torch.rand(40, generator=torch.Generator().manual_seed(seed)) + 0.01
    low = groups_of(weight, group, torch.inf).amin(-1)
    high = groups_of(weight, group, -torch.inf).amax(-1)
    scale = ((high - low) / (2**bits - 1)).half()
    whole = Grid(scale, (-low / scale.float()).half(), bits)
    assert (
        lost(free(weight, setting, cost), weight, setting, cost) <= 1.0001 * lost(whole, weight, setting, cost)
    ).all()


def test_it_loses_less_than_a_zero_point_among_the_codes() -> None:
    setting, weight, cost = BitsSetting(bits=3, group=32), matrix((64, 96)), torch.ones(96)
    found, coded = (lost(fit(weight, setting, cost), weight, setting, cost).sum() for fit in (free, searched))
    assert found < 0.97 * coded


def test_what_weighs_nothing_stretches_no_range() -> None:
    setting, weight, cost = BitsSetting(bits=4, group=16), matrix((4, 32)), torch.ones(4, 32)
    expected = free(weight[:, :15], BitsSetting(bits=4), torch.ones(15))
    weight[:, 15], cost[:, 15] = 1e4, 0
    found = free(weight, setting, cost)
    assert torch.equal(found.scale[:, :1], expected.scale)


@pytest.mark.parametrize("value", [0.0, 1e-30, 3.0, -6e4])
def test_groups_of_one_number_stay_finite(value: float) -> None:
    weight, setting = torch.full((3, 16), value), BitsSetting(bits=4, group=8)
    grid = free(weight, setting, torch.ones(16))
    form = Quantized(nearest(weight, grid, setting), grid.scale, grid.zero, 4, 8)
    assert form.dense().isfinite().all()
    assert torch.allclose(form.dense(), weight, rtol=2e-3, atol=1e-6)


def test_gptq_with_a_free_zero_takes_the_bytes_of_hqq_and_is_closer() -> None:
    weight, x = matrix((32, 96)), inputs(96)
    setting = BitsSetting(bits=3, group=32)
    plain, freed, hqq = (transformed(name, leaf(weight, x), setting, **own)
                         for name, own in (("gptq", {}), ("gptq", {"free_zero": True}), ("hqq", {})))  # fmt: skip
    assert freed.nbytes == hqq.nbytes == sum(one.nbytes for one in freed.pack()[1].values())
    assert output_error(weight, freed, x) < output_error(weight, plain, x) < output_error(weight, hqq, x)


def test_a_symmetric_grid_has_no_zero_to_free() -> None:
    with pytest.raises(ReparamError, match="no zero point"):
        transformed("gptq", leaf(matrix((8, 16))), BitsSetting(bits=4, symmetric=True), free_zero=True)
