"""What each method promises beside the laws."""

from itertools import pairwise

import pytest
import torch

from reparam_core.errors import ReparamError
from reparam_core.methods.column_rounding import ColumnRounding
from reparam_core.methods.grids import free, searched
from reparam_core.methods.rank.als import ALS
from reparam_core.methods.settings import BitsSetting, RankSetting, SparsitySetting
from reparam_core.parametrizations import Leaf
from reparam_core.recipes import Recipe, Step
from reparam_core.registry import methods


def spectrum_matrix(m: int = 60, n: int = 40) -> torch.Tensor:
    """A matrix with singular values 2^(-i/4)."""
    generator = torch.Generator().manual_seed(3)
    a = torch.linalg.qr(torch.randn(m, n, generator=generator)).Q
    b = torch.linalg.qr(torch.randn(n, n, generator=generator)).Q
    return a * (0.5 ** (torch.arange(n) / 4)) @ b.T


def at(name: str, weight: torch.Tensor, setting: object, **own: object) -> torch.Tensor:
    method = methods()[name](**own)
    leaves = {"w": Leaf("", weight)}
    return method.at(method.prepare(leaves), leaves, setting)["w"].dense()


@pytest.mark.parametrize("rank", [1, 5, 17])
def test_svd_error_is_what_eckart_and_young_say(rank: int) -> None:
    w = spectrum_matrix()
    optimum = torch.linalg.svdvals(w)[rank:].norm()
    torch.testing.assert_close((w - at("svd", w, RankSetting(rank=rank))).norm(), optimum, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["als", "randomized-svd"])
@pytest.mark.parametrize("rank", [1, 5, 17])
def test_other_factorizations_come_within_a_percent_of_the_optimum(name: str, rank: int) -> None:
    w = spectrum_matrix()
    optimum = float(torch.linalg.svdvals(w)[rank:].norm())
    error = float((w - at(name, w, RankSetting(rank=rank))).norm())
    assert optimum * 0.999 <= error <= optimum * 1.01


def test_als_loss_never_rises_and_stays_above_the_svd() -> None:
    w = spectrum_matrix()
    losses = [loss for _, _, loss in ALS(iterations=20, tolerance=0).rounds(w, 5)]
    optimum = float(torch.linalg.svdvals(w)[5:].square().sum() / w.square().sum())
    assert all(later <= earlier * (1 + 1e-5) for earlier, later in pairwise(losses))
    assert losses[-1] >= optimum * (1 - 1e-4)
    assert losses[0] > losses[-1]


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.999])
def test_magnitude_zeroes_exactly_that_many_ties_by_index(fraction: float) -> None:
    w = torch.tensor([[1.0, -1, 1, 2], [-1, 3, 1, -1]]).repeat(10, 5)
    kept = at("magnitude", w, SparsitySetting(fraction=fraction))
    zeros = int(fraction * w.numel())
    order = torch.argsort(w.abs().reshape(-1), stable=True)
    expected = w.reshape(-1).clone()
    expected[order[:zeros]] = 0
    assert torch.equal(kept.reshape(-1), expected)


def test_magnitude_over_the_model_takes_more_from_the_smaller_matrix() -> None:
    method = methods()["magnitude"](scope="model")
    leaves = {"small": Leaf("", torch.full((4, 4), 0.1)), "large": Leaf("", torch.full((4, 4), 1.0))}
    forms = method.at(method.prepare(leaves), leaves, SparsitySetting(fraction=0.5))
    assert not forms["small"].dense().any()
    assert forms["large"].dense().all()


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("group", [None, "tensor", 16, 12, 1])
@pytest.mark.parametrize("bits", range(2, 9))
def test_rounding_error_stays_below_one_step(bits: int, group: int | str | None, symmetric: bool) -> None:
    w = torch.randn(9, 32, generator=torch.Generator().manual_seed(bits))
    method = methods()["rtn"]()
    leaves = {"w": Leaf("", w)}
    form = method.at({}, leaves, BitsSetting(bits=bits, group=group, symmetric=symmetric))["w"]
    assert int(form.codes.max()) < 2**bits
    assert (form.dense() - w).abs().max() <= 2 * form.error


def test_symmetric_rounding_agrees_with_torch_fake_quantization() -> None:
    w = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    ours = methods()["rtn"]().at({}, {"w": Leaf("", w)}, BitsSetting(bits=4, symmetric=True))["w"]
    scale = ours.scale.float().reshape(-1)
    theirs = torch.fake_quantize_per_channel_affine(w, scale, torch.zeros(6, dtype=torch.int32), 0, -7, 7)
    torch.testing.assert_close(ours.dense(), theirs)


@pytest.mark.parametrize("name", ["binary", "ternary", "codebook"])
@pytest.mark.parametrize("seed", range(3))
def test_every_row_is_fitted_to_what_is_left_of_it(name: str, seed: int) -> None:
    """Whatever each row has lost; one that has lost all of it reads as zeros."""
    w = torch.randn(6, 40, generator=torch.Generator().manual_seed(seed))
    mask = torch.rand(6, 40, generator=torch.Generator().manual_seed(seed + 1)) < 0.4
    mask[2] = False
    method, setting = methods()[name](), BitsSetting(bits=1 if name == "binary" else 2)
    found = method.at({}, {"w": Leaf("", w * mask, mask)}, setting)["w"].dense()
    for row, numbers, left in zip(found, w, mask, strict=True):
        alone = at(name, numbers[left][None], setting) if left.any() else torch.zeros(1, 0)
        assert torch.equal(row[left], alone[0])
    assert not found[2].round(decimals=5).any()


def test_one_bit_is_the_least_squares_fit_of_what_is_left() -> None:
    mask = torch.tensor([[False, False, True, True]])
    leaves = {"w": Leaf("", torch.tensor([[0.0, 0, 2, -2]]), mask)}
    for name in ("binary", "codebook"):
        found = methods()[name]().at({}, leaves, BitsSetting(bits=1))["w"].dense()
        assert found[mask].tolist() == [2, -2]


@pytest.mark.parametrize("free_zero", [False, True])
def test_a_grid_is_fitted_late_to_what_is_left_of_its_group(free_zero: bool) -> None:
    """What earlier columns pushed onto pruned places goes anyway, and stretches no range."""
    weight, mask = torch.randn(5, 16, generator=torch.Generator().manual_seed(0)), torch.ones(5, 16, dtype=torch.bool)
    mask[:, 11] = False
    pushed, fit = weight.masked_fill(~mask, 1e3), free if free_zero else searched
    scales = []
    for now in (weight * mask, pushed):
        rounding = ColumnRounding(weight * mask, mask, BitsSetting(bits=3, group=8), torch.ones(16), fit)
        for j in range(16):
            rounding.settle(j, j, now)
        scales.append(rounding.form.scale)
    assert torch.equal(*scales)


@pytest.mark.parametrize(("name", "own"), [
    ("als", {"iterations": 0}), ("als", {"tolerance": -1.0}), ("randomized-svd", {"iterations": -1}),
    ("randomized-svd", {"oversampling": -8})])  # fmt: skip
def test_a_field_that_makes_no_sense_is_one_line(name: str, own: dict[str, float]) -> None:
    (field,) = own
    with pytest.raises(ReparamError, match=f"'{name}' is wrong: {field}: input should be greater than or equal to"):
        Step.parse("rank", {"method": name, "keep": 0.5, **own})


@pytest.mark.parametrize("short", [
    "svd:0.1234567", "svd:e0.98765432", "svd:1.2345678p", "magnitude:0.3333333333333333", "magnitude:t1.2345678e-07",
    "svd:0.5", "svd:1", "magnitude:0"])  # fmt: skip
def test_the_short_form_says_the_number_that_counts(short: str) -> None:
    parsed = Recipe.parse(short)
    assert parsed.short() == short
    assert Recipe.parse(parsed.short()).canonical == parsed.canonical
