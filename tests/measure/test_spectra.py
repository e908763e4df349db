"""What singular values say: definitions against plain numbers, the edge against random matrices, the optimum."""

import math

import numpy as np
import pytest
import torch

from reparam_core.measure.spectra import (
    QUANTITIES,
    Spectrum,
    break_even,
    by_kind,
    convergence_rate,
    energy_kept,
    entropy_rank,
    kind_and_layer,
    layered,
    numbers_kept,
    random_edge,
    random_spectrum,
    relative_error,
    singular_values,
    stable_rank,
)
from reparam_core.methods.rank.als import ALS


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(40, 40), (12, 50), (50, 12), (5000, 8), (8, 5000)])
def test_singular_values_are_those_of_lapack_also_by_the_gram_matrix(shape: tuple[int, int]) -> None:
    weight = gaussian(*shape).float()
    found, known = singular_values(weight), torch.linalg.svdvals(weight.double())
    assert found.dtype == torch.float64
    assert torch.allclose(found, known, rtol=0, atol=3e-8 * float(known[0]))


def test_a_tall_matrix_of_low_rank_has_zeros_to_the_stated_accuracy() -> None:
    sigma = singular_values(gaussian(4000, 3) @ gaussian(3, 20))
    assert bool((sigma[3:] <= 3e-8 * sigma[0]).all())


def test_ranks_of_equal_and_of_single_directions() -> None:
    equal, single = torch.ones(6, dtype=torch.float64), torch.tensor([2.0, 0, 0], dtype=torch.float64)
    assert [stable_rank(equal), entropy_rank(equal)] == pytest.approx([6, 6])
    assert [stable_rank(single), entropy_rank(single)] == pytest.approx([1, 1])
    nothing = torch.zeros(3, dtype=torch.float64)
    assert (stable_rank(nothing), entropy_rank(nothing), relative_error(nothing, 1)) == (0, 0, 0)


def test_energy_error_and_numbers_of_a_cut() -> None:
    sigma = torch.tensor([4.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    assert energy_kept(sigma, 2) == pytest.approx(20 / 21)
    assert relative_error(sigma, 2) == pytest.approx(math.sqrt(1 / 21))
    assert energy_kept(sigma, 4) == 1
    assert numbers_kept((6, 4), 2) == pytest.approx(20 / 24)


@pytest.mark.parametrize("shape", [(576, 576), (192, 576), (49152, 576), (2, 384)])
def test_break_even_is_the_last_rank_that_holds_no_more_numbers(shape: tuple[int, int]) -> None:
    even = break_even(shape)
    assert numbers_kept(shape, even) <= 1 < numbers_kept(shape, even + 1)


def test_no_matrix_of_that_rank_is_nearer_than_the_svd_cut() -> None:
    weight, r = gaussian(30, 20), 5
    optimum = relative_error(singular_values(weight), r) ** 2
    u, v = gaussian(30, r, seed=1), gaussian(20, r, seed=2)
    best_of_v = torch.linalg.lstsq(u, weight).solution
    some = [u @ v.T, u @ best_of_v]
    assert all(float((weight - one).square().sum() / weight.square().sum()) > optimum for one in some)
    *_, (_, _, last) = ALS(iterations=200, tolerance=0.0).rounds(weight.float(), r)
    assert last == pytest.approx(optimum, rel=1e-4)
    assert last >= optimum * (1 - 1e-6)


def test_als_falls_to_the_optimum_at_the_stated_rate_in_the_long_run() -> None:
    a, b = torch.linalg.qr(gaussian(30, 20)).Q, torch.linalg.qr(gaussian(20, 20, seed=1)).Q
    sigma = torch.tensor([10.0, 9, 8, 7, 6, 5, *([2.0] * 14)], dtype=torch.float64)
    losses = [loss for _, _, loss in ALS(iterations=40, tolerance=0.0).rounds((a * sigma @ b.T).float(), 5)]
    excess = np.array(losses) / relative_error(sigma, 5) ** 2 - 1
    late = int(np.argmax(excess < 1e-3))
    assert excess[late + 1] / excess[late] == pytest.approx(convergence_rate(sigma, 5), rel=0.05)
    assert convergence_rate(sigma, 5) == pytest.approx((5 / 6) ** 4)
    assert convergence_rate(sigma, 20) == 0


@pytest.mark.parametrize("shape", [(400, 400), (300, 900), (900, 300)])
def test_a_random_matrix_ends_at_the_edge_and_follows_the_marchenko_pastur_curve(shape: tuple[int, int]) -> None:
    weight = 0.02 * gaussian(*shape)
    sigma = singular_values(weight)
    edge = random_edge(sigma, shape)
    assert edge == pytest.approx(0.02 * (math.sqrt(shape[0]) + math.sqrt(shape[1])), rel=0.01)
    assert float(sigma[0]) == pytest.approx(edge, rel=0.03)
    curve = random_spectrum(sigma, shape)
    assert (np.diff(curve) <= 0).all()
    assert np.abs(curve - sigma.numpy()).max() < 0.02 * edge
    assert Spectrum(shape, sigma).above_edge <= 2


def test_a_direction_with_structure_stands_above_the_edge() -> None:
    shape = (200, 100)
    weight = gaussian(*shape) + 5 * torch.ones(*shape, dtype=torch.float64) * gaussian(200, 1, seed=3)
    assert Spectrum(shape, singular_values(weight)).above_edge == 1


def test_every_quantity_of_a_spectrum_is_finite_and_shares_are_shares() -> None:
    found = Spectrum((64, 48), singular_values(gaussian(64, 48)))
    for quantity in QUANTITIES.values():
        value = quantity.of(found)
        assert math.isfinite(value), quantity.name
        assert not quantity.share or 0 <= value <= 1, quantity.name


@pytest.mark.parametrize(
    ("role", "kind", "layer"),
    [("layers.3.attention.q", "attention.q", 3), ("decoder.layers.11.cross.k", "decoder.cross.k", 11),
     ("embedding", "embedding", None), ("other.cls.predictions.transform.dense", "other.cls.predictions.transform.dense", None)],
)  # fmt: skip
def test_a_role_is_a_kind_in_a_layer(role: str, kind: str, layer: int | None) -> None:
    assert kind_and_layer(role) == (kind, layer)
    assert by_kind([role]) == {kind: {layer: role}}


def test_a_table_over_kinds_and_layers_has_holes_where_there_is_no_matrix() -> None:
    roles, kinds, layers = layered(["encoder.layers.0.mlp.up", "decoder.layers.1.cross.q", "head"])
    assert (kinds, layers) == (["encoder.mlp.up", "decoder.cross.q"], [0, 1])
    assert roles == [["encoder.layers.0.mlp.up", ""], ["", "decoder.layers.1.cross.q"]]
