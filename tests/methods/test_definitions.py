"""Each method against its definition, written down once more as plainly as can be, in float64."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods import hessian
from reparam_core.methods.bits.hqq import HQQ
from reparam_core.methods.patterns import lowest_of_rows, outside_pattern
from reparam_core.methods.settings import BitsSetting, RankSetting, SparsitySetting
from reparam_core.methods.whitening import whitener
from reparam_core.parametrizations import Dense, Leaf, LowRank, Quantized, Scaled, Sparse, Statistics, Sum, unpack
from reparam_core.registry import methods
from tests.methods.leaves import inputs, leaf, matrix, output_error, statistics, transformed

DAMPING = 1e-6
SEEDS = pytest.mark.parametrize("seed", range(3))
Decide = Callable[[int, Tensor], Tensor]


def damped(x: Tensor, damping: float = DAMPING) -> Tensor:
    """H + λI of these inputs, float64."""
    gram = x.double().T @ x.double() / len(x)
    return gram + damping * gram.diagonal().mean() * torch.eye(len(gram))


def inverse_of_the_rest(h: Tensor, j: int) -> Tensor:
    """H⁻¹ of the columns that are not settled yet, solved anew."""
    return torch.linalg.inv(h[j:, j:])


def brain_surgeon(weight: Tensor, h: Tensor, decide: Decide) -> Tensor:
    """Column by column: w_q, then δ = −(w_j − w_q) / [H⁻¹]_jj · [H⁻¹]_j: over all columns that are left."""
    now, settled = weight.double().clone(), torch.empty_like(weight, dtype=torch.float64)
    for j in range(weight.shape[1]):
        inverse = inverse_of_the_rest(h, j)
        settled[:, j] = decide(j, now)
        now[:, j:] -= torch.outer((now[:, j] - settled[:, j]) / inverse[0, 0], inverse[0])
    return settled


def losses(now: Tensor, h: Tensor, columns: range) -> Tensor:
    """w² / [H⁻¹]_jj for H of the column and all behind it."""
    return now[:, list(columns)].square() / pivots(h, columns)


def grid(numbers: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Scale (float16) and zero point a row, zero among the extremes."""
    low, high = numbers.amin(1).clamp(max=0), numbers.amax(1).clamp(min=0)
    scale = ((high - low) / (2**bits - 1)).half().double()
    return scale, (-low / scale).round()


def rounded(column: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    return ((column / scale + zero).round().clamp(0, 2**bits - 1) - zero) * scale


def pivots(h: Tensor, columns: range) -> Tensor:
    """[H⁻¹]_jj for H of the column and all behind it."""
    return torch.tensor([float(inverse_of_the_rest(h, j)[0, 0]) for j in columns], dtype=torch.float64)


def cheapest_grid(numbers: Tensor, bits: int, cost: Tensor) -> tuple[Tensor, Tensor]:
    """Row by row, of the ranges 100, 95, … 50 % of the whole the one that makes Σ cost · error² least."""
    found = []
    for row in numbers:
        grids = [grid(row[None] * share, bits) for share in (1 - step / 20 for step in range(11))]
        found.append(min(grids, key=lambda one: float((cost * (row - rounded(row, *one, bits)).square()).sum())))
    return torch.cat([scale for scale, _ in found]), torch.cat([zero for _, zero in found])


@SEEDS
@pytest.mark.parametrize("block", [128, 8, 5])
def test_gptq_is_optimal_brain_surgeon_on_a_grid(seed: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many columns are walked together."""
    monkeypatch.setattr(hessian, "BLOCK", block)
    weight, x = matrix((6, 24), seed), inputs(24, seed=seed)
    scale, zero = grid(weight.double(), 3)
    expected = brain_surgeon(weight, damped(x), lambda j, now: rounded(now[:, j], scale, zero, 3))
    found = transformed("gptq", leaf(weight, x), BitsSetting(bits=3), damping=DAMPING, clip=False)
    torch.testing.assert_close(found.dense().double(), expected, rtol=1e-5, atol=1e-5)


@SEEDS
@pytest.mark.parametrize("block", [128, 16, 8])
@pytest.mark.parametrize("clip", [False, True])
def test_gptq_fits_a_groups_grid_to_what_the_group_has_become(
    seed: int, block: int, clip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hessian, "BLOCK", block)
    weight, x, grids = matrix((6, 28), seed), inputs(28, seed=seed), dict[int, tuple[Tensor, Tensor]]()
    h = damped(x)

    def decide(j: int, now: Tensor) -> Tensor:
        if j % 8 == 0:
            group, columns = now[:, j : j + 8].float(), range(j, min(j + 8, 28))
            grids[j // 8] = cheapest_grid(group.double(), 3, 1 / pivots(h, columns)) if clip else grid(group, 3)
        return rounded(now[:, j], *grids[j // 8], 3)

    expected = brain_surgeon(weight, h, decide)
    found = transformed("gptq", leaf(weight, x), BitsSetting(bits=3, group=8), damping=DAMPING, clip=clip)
    torch.testing.assert_close(found.dense().double(), expected, rtol=1e-4, atol=1e-4)


@SEEDS
def test_gptq_in_the_order_of_activity(seed: int) -> None:
    """Columns by falling diag(H), each on the grid of its own group, which the untouched weights fit."""
    weight, x = matrix((6, 24), seed), inputs(24, seed=seed)
    order = x.square().sum(0).argsort(descending=True)
    grids = [grid(group.double(), 3) for group in weight.split(8, 1)]
    expected = torch.empty(6, 24, dtype=torch.float64)
    expected[:, order] = brain_surgeon(
        weight[:, order], damped(x[:, order]), lambda j, now: rounded(now[:, j], *grids[int(order[j]) // 8], 3)
    )
    found = transformed(
        "gptq", leaf(weight, x), BitsSetting(bits=3, group=8), damping=DAMPING, clip=False, act_order=True
    )
    torch.testing.assert_close(found.dense().double(), expected, rtol=1e-4, atol=1e-4)


@SEEDS
@pytest.mark.parametrize("block", [128, 8])
@pytest.mark.parametrize("fraction", [0.3, 0.7])
def test_sparsegpt_is_optimal_brain_surgeon_with_zeros(
    seed: int, block: int, fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every block of columns goes a share, chosen when the block comes up."""
    monkeypatch.setattr(hessian, "BLOCK", block)
    weight, x = matrix((6, 20), seed), inputs(20, seed=seed)
    h, gone = damped(x), torch.zeros(6, 20, dtype=torch.bool)

    def decide(j: int, now: Tensor) -> Tensor:
        if j % block == 0:
            columns = range(j, min(j + block, 20))
            one = losses(now, h, columns).flatten()
            chosen = torch.zeros(len(one), dtype=torch.bool)
            chosen[one.argsort()[: int(fraction * len(one))]] = True
            gone[:, j : j + block] = chosen.view(6, -1)
        return now[:, j] * ~gone[:, j]

    expected = brain_surgeon(weight, h, decide)
    found = transformed("sparsegpt", leaf(weight, x), SparsitySetting(fraction=fraction), damping=DAMPING).dense()
    assert torch.equal(found == 0, gone)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


@SEEDS
def test_sparsegpt_chooses_blocks_of_least_loss_in_all(seed: int) -> None:
    weight, x = matrix((6, 22), seed), inputs(22, seed=seed)
    h, gone = damped(x), torch.zeros(6, 22, dtype=torch.bool)

    def decide(j: int, now: Tensor) -> Tensor:
        if j == 0:  # all columns are within the first 128
            lost = losses(now, h, range(22))
            squares = {(row, column): float(lost[row : row + 4, column : column + 4].sum())
                       for row in (0, 4) for column in range(0, 22, 4)}  # fmt: skip
            for row, column in sorted(squares, key=lambda one: squares[one])[: len(squares) // 2]:
                gone[row : row + 4, column : column + 4] = True
        return now[:, j] * ~gone[:, j]

    expected = brain_surgeon(weight, h, decide)
    setting = SparsitySetting(fraction=0.5, block=4)
    found = transformed("sparsegpt", leaf(weight, x), setting, damping=DAMPING).dense()
    assert torch.equal(found == 0, gone)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "cost"), [("magnitude", lambda w, _x: w**2), ("wanda", lambda w, x: (w * x.norm(dim=0)) ** 2)]
)
def test_the_blocks_that_go_cost_least(name: str, cost: Callable[[Tensor, Tensor], Tensor]) -> None:
    weight, x = matrix((8, 20)), inputs(20)
    found = transformed(name, leaf(weight, x), SparsitySetting(fraction=0.4, block=4)).dense()
    squares = [(float(cost(one, at).sum()), bool((left == 0).all())) for rows, left_rows in zip(weight.split(4), found.split(4), strict=True)
               for one, left, at in zip(rows.split(4, 1), left_rows.split(4, 1), x.split(4, 1), strict=True)]  # fmt: skip
    assert [gone for _, gone in sorted(squares)] == [True] * 4 + [False] * 6
    with pytest.raises(ReparamError, match="into which blocks of 3 do not fit"):
        transformed("sparsegpt", leaf(weight, x), SparsitySetting(fraction=0.4, block=3))


@SEEDS
def test_sparsegpt_chooses_a_pattern_when_its_group_comes_up(seed: int) -> None:
    weight, x = matrix((6, 22), seed), inputs(22, seed=seed)
    h, gone = damped(x), torch.zeros(6, 22, dtype=torch.bool)

    def decide(j: int, now: Tensor) -> Tensor:
        if j % 4 == 0:
            one = losses(now, h, range(j, min(j + 4, 22)))
            gone[:, j : j + 4].scatter_(1, one.argsort(1)[:, : one.shape[1] - 2], True)
        return now[:, j] * ~gone[:, j]

    expected = brain_surgeon(weight, h, decide)
    found = transformed("sparsegpt", leaf(weight, x), SparsitySetting(pattern="2:4"), damping=DAMPING).dense()
    assert torch.equal(found == 0, gone)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


def pruned_before(weight: Tensor, x: Tensor) -> Leaf:
    """A leaf whose half of least magnitude an earlier step took."""
    mask = transformed("magnitude", leaf(weight), SparsitySetting(fraction=0.5)).dense() != 0
    return leaf(weight * mask, x, mask=mask)


@SEEDS
@pytest.mark.parametrize("fraction", [0, 0.3, 0.7])
def test_what_was_pruned_before_sparsegpt_goes_in_its_walk_and_is_counted(
    seed: int, fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a place costs nothing more, and what the walk put there is made up for."""
    monkeypatch.setattr(hessian, "BLOCK", 8)
    weight, x = matrix((6, 20), seed), inputs(20, seed=seed)
    one, h = pruned_before(weight, x), damped(x)
    assert one.mask is not None
    gone = ~one.mask

    def decide(j: int, now: Tensor) -> Tensor:
        if j % 8 == 0:
            cost = (losses(now, h, range(j, min(j + 8, 20))) * ~gone[:, j : j + 8]).flatten()
            chosen = torch.zeros(len(cost), dtype=torch.bool)
            chosen[cost.argsort(stable=True)[: int(fraction * len(cost))]] = True
            gone[:, j : j + 8] |= chosen.view(6, -1)
        return now[:, j] * ~gone[:, j]

    expected = brain_surgeon(one.weight, h, decide)
    found = transformed("sparsegpt", one, SparsitySetting(fraction=fraction), damping=DAMPING).dense()
    assert torch.equal(found == 0, gone)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


@SEEDS
@pytest.mark.parametrize("kept_bits", [8, 16])
def test_no_more_goes_after_zeros_than_was_asked_for_and_the_rest_makes_up(
    seed: int, kept_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a group that keeps two as many as there were, of a block of columns its share to the number."""
    monkeypatch.setattr(hessian, "BLOCK", 16)
    weight, x = matrix((32, 80), seed), inputs(80, seed=seed)
    one = pruned_before(weight, x)
    assert one.mask is not None
    of_groups = one.mask.unflatten(1, (-1, 4)).sum(-1).clamp_max(2)
    for setting, left in (
        (SparsitySetting(fraction=0.7), 5 * (512 - int(0.7 * 512))),
        (SparsitySetting(pattern="2:4"), of_groups),
    ):
        found = transformed("sparsegpt", one, setting, kept_bits=kept_bits)
        assert isinstance(found, Sparse)
        assert not (found.mask & ~one.mask).any()
        counted = found.mask.sum() if setting.fraction else found.mask.unflatten(1, (-1, 4)).sum(-1)
        assert torch.equal(counted, torch.as_tensor(left))
        assert output_error(one.weight, found, x) < output_error(one.weight, transformed("wanda", one, setting), x)


@SEEDS
def test_sparsegpt_rounds_what_it_keeps_in_the_same_walk(seed: int) -> None:
    weight, x = matrix((6, 24), seed), inputs(24, seed=seed)
    h, gone, grids = damped(x), torch.zeros(6, 24, dtype=torch.bool), dict[int, tuple[Tensor, Tensor]]()

    def decide(j: int, now: Tensor) -> Tensor:
        if j % 4 == 0:
            gone[:, j : j + 4].scatter_(1, losses(now, h, range(j, j + 4)).argsort(1)[:, :2], True)
        if j % 8 == 0:
            grids[j // 8] = cheapest_grid(now[:, j : j + 8], 3, 1 / pivots(h, range(j, j + 8)))
        return rounded(now[:, j], *grids[j // 8], 3) * ~gone[:, j]

    expected = brain_surgeon(weight, h, decide)
    setting, one = SparsitySetting(pattern="2:4"), leaf(weight, x)
    found = transformed("sparsegpt", one, setting, damping=DAMPING, kept_bits=3, kept_group=8)
    assert isinstance(found, Sparse)
    assert torch.equal(~found.mask, gone)
    torch.testing.assert_close(found.dense().double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["gptq", "sparsegpt"])
@pytest.mark.parametrize("width", [160, 257])
def test_blocks_of_the_authors_width_change_nothing(name: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = {"gptq": BitsSetting(bits=3), "sparsegpt": SparsitySetting(pattern="2:4")}[name]
    one = leaf(matrix((4, width)))
    blocked = transformed(name, one, setting).dense()
    monkeypatch.setattr(hessian, "BLOCK", 1000)
    at_once = transformed(name, one, setting).dense()
    step = float(at_once.abs().max()) / 4  # a number between two codes may fall either way
    assert ((blocked - at_once).abs() < 1e-3).float().mean() > 0.97
    assert (blocked - at_once).abs().max() < 2 * step


@pytest.mark.parametrize("name", ["gptq", "sparsegpt"])
@pytest.mark.parametrize("damping", [1e-3, 1e-9, 1e-15, 1e-300])
def test_however_little_damping_the_answer_is_finite_or_one_line(name: str, damping: float) -> None:
    one, kind = leaf(matrix((6, 40)), inputs(40, tokens=7)), methods()[name]
    setting = {"bits": BitsSetting(bits=4), "sparsity": SparsitySetting(fraction=0.5)}[kind.axis]
    told = "finite"
    try:
        assert torch.isfinite(transformed(name, one, setting, damping=damping).dense()).all()
    except ReparamError as error:
        told = str(error)
    assert told == "finite" or (damping < 1e-3 and "cannot be inverted" in told)


def test_a_singular_hessian_is_damped_until_it_can_be_inverted() -> None:
    """Also where only its inverse turns out to be too crooked to factor."""
    for seed in range(40):
        x = torch.randint(-9, 10, (3, 6), generator=torch.Generator().manual_seed(seed)).float()
        upper = hessian.inverse_factor(statistics(x), 1e-17)
        assert torch.isfinite(upper).all()
        assert torch.equal(upper, upper.triu())
        assert (upper.diagonal() > 0).all()


@SEEDS
@pytest.mark.parametrize(("better", "worse"), [("sparsegpt", "wanda"), ("wanda", "magnitude"), ("magnitude", "random"),
                                               ("gptq", "rtn"), ("awq", "rtn"), ("whitened-svd", "svd")])  # fmt: skip
def test_what_looks_at_the_inputs_loses_less_of_the_output(better: str, worse: str, seed: int) -> None:
    weight, x = matrix((40, 48), seed), inputs(48, seed=seed + 10)
    for setting in {
        "rank": [RankSetting(keep=keep) for keep in (0.1, 0.5, 0.9)],
        "sparsity": [*(SparsitySetting(fraction=fraction) for fraction in (0.3, 0.6)), SparsitySetting(pattern="2:4")],
        "bits": [BitsSetting(bits=bits, group=group) for bits in (2, 3, 4) for group in (None, 16)],
    }[methods()[better].axis]:
        mine, other = (output_error(weight, transformed(name, leaf(weight, x), setting), x) for name in (better, worse))
        assert mine < other, setting


@SEEDS
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_wanda_takes_the_least_weight_times_norm_of_every_row(seed: int, fraction: float) -> None:
    weight, x = matrix((9, 30), seed), inputs(30, seed=seed)
    scores = weight.abs() * torch.stack([channel.norm() for channel in x.T])
    expected = weight.clone()
    for row, score in zip(expected, scores, strict=True):
        row[score.sort().indices[: int(fraction * 30)]] = 0
    assert torch.equal(transformed("wanda", leaf(weight, x), SparsitySetting(fraction=fraction)).dense(), expected)


def test_wanda_takes_the_least_of_every_group() -> None:
    weight, x = matrix((9, 30)), inputs(30)
    scores, expected = weight.abs() * x.norm(dim=0), weight.clone()
    for row, score in zip(expected, scores, strict=True):
        for start in range(0, 30, 4):
            order = sorted(range(start, min(start + 4, 30)), key=lambda j: float(score[j]))
            row[order[:-2]] = 0
    assert torch.equal(transformed("wanda", leaf(weight, x), SparsitySetting(pattern="2:4")).dense(), expected)


@pytest.mark.parametrize("name", ["wanda", "sparsegpt", "random"])
def test_a_threshold_on_the_weights_cuts_no_other_score(name: str) -> None:
    with pytest.raises(ReparamError, match=rf"no threshold on the weights cuts\. Give a fraction .* {name}:2:4"):
        transformed(name, leaf(matrix((8, 32))), SparsitySetting(threshold=0.1))


def test_random_pruning_is_drawn_by_its_seed_and_nested() -> None:
    one = leaf(matrix((20, 40)))
    masks = [transformed("random", one, SparsitySetting(fraction=share)).dense() != 0 for share in (0.2, 0.5, 0.8)]
    assert all((more <= less).all() for less, more in pairwise(masks))
    assert [int(mask.sum(1).unique()) for mask in masks] == [32, 20, 8]
    other = transformed("random", one, SparsitySetting(fraction=0.5), seed=1).dense() != 0
    assert 0.3 < (other == masks[1]).float().mean() < 0.7
    large = transformed("random", one, SparsitySetting(fraction=0.5)).dense().abs().sum()
    assert large < transformed("magnitude", one, SparsitySetting(fraction=0.5)).dense().abs().sum()


def test_matrices_of_one_shape_lose_other_places_at_random() -> None:
    one, random = leaf(matrix((20, 40))), methods()["random"]()
    masks = [random.at({}, {role: one}, SparsitySetting(fraction=0.5))[role].dense() != 0
             for role in ("layers.0.attention.q", "layers.1.attention.q")]  # fmt: skip
    assert 0.3 < (masks[0] == masks[1]).float().mean() < 0.7


@SEEDS
@pytest.mark.parametrize("levels", [2, 3, 50])
def test_of_equal_scores_the_first_go_from_a_row_and_stay_in_a_group(seed: int, levels: int) -> None:
    draw = np.random.default_rng(seed)
    scores = torch.from_numpy(draw.integers(0, levels, (8, 21)).astype(np.float32))
    for count in (0, 1, 7, 20):
        expected = torch.zeros(8, 21, dtype=torch.bool)
        expected.scatter_(1, scores.argsort(dim=1, stable=True)[:, :count], True)
        assert torch.equal(lowest_of_rows(scores, count), expected)
    for kept, of in ((2, 4), (1, 3), (4, 8), (5, 21)):
        gone = torch.zeros(8, 21, dtype=torch.bool)
        for start in range(0, 21, of):
            order = scores[:, start : start + of].argsort(dim=1, descending=True, stable=True)
            gone[:, start : start + of].scatter_(1, order[:, kept:], True)
        assert torch.equal(outside_pattern(scores, kept, of), gone)


@SEEDS
@pytest.mark.parametrize("rank", [1, 6, 17])
def test_no_matrix_of_that_rank_keeps_more_of_the_output(seed: int, rank: int) -> None:
    """Not the plain SVD, not whitening by norms alone or by too much, and none near by."""
    weight, x = matrix((24, 20), seed), inputs(20, seed=seed)
    best = transformed("whitened-svd", leaf(weight, x), RankSetting(rank=rank))
    assert isinstance(best, LowRank)
    least, generator = output_error(weight, best, x), torch.Generator().manual_seed(seed)
    others = [transformed("svd", leaf(weight), RankSetting(rank=rank)).dense()]
    gram = x.double().T @ x.double()
    for root in (torch.diag(x.norm(dim=0)).double(), gram):
        a, sigma, b = torch.linalg.svd(weight.double() @ root, full_matrices=False)
        others.append((a[:, :rank] * sigma[:rank]) @ b[:rank] @ torch.linalg.inv(root))
    for size in (1e-3, 1e-2, 0.1):
        left, right = (
            one.dense() + size * torch.randn(one.shape, generator=generator) for one in (best.left, best.right)
        )
        others.append(left @ right)
    errors = [float((x.double() @ (weight - other).double().T).norm()) for other in others]
    assert least < min(errors)


@SEEDS
def test_whitened_singular_values_are_the_outputs_error(seed: int) -> None:
    weight, x = matrix((24, 20), seed), inputs(20, seed=seed)
    method, leaves = methods()["whitened-svd"](), {"w": leaf(weight, x)}
    sigma = method.prepare(leaves)["sigma"].double()
    for rank in (1, 5, 12, 19):
        found = transformed("whitened-svd", leaf(weight, x), RankSetting(rank=rank))
        foretold = float((sigma[rank:].square().sum() * len(x)).sqrt())
        assert output_error(weight, found, x) == pytest.approx(foretold, rel=1e-4)
    whole = float((x.double() @ weight.double().T).norm())
    for energy in (0.5, 0.9, 0.99):
        found = transformed("whitened-svd", leaf(weight, x), RankSetting(energy=energy))
        fewer = (
            transformed("whitened-svd", leaf(weight, x), RankSetting(rank=found.rank - 1)) if found.rank > 1 else None
        )
        assert output_error(weight, found, x) ** 2 <= (1 - energy) * whole**2 * (1 + 1e-6)
        assert fewer is None or output_error(weight, fewer, x) ** 2 > (1 - energy) * whole**2


@pytest.mark.parametrize("tokens", [1, 50])
def test_inputs_alike_in_every_direction_make_it_the_plain_svd(tokens: int) -> None:
    weight = matrix((24, 20))
    known = Statistics(tokens, tokens * torch.eye(20), torch.zeros(20), torch.ones(20), "white")
    for rank in (1, 7, 20):
        whitened = transformed("whitened-svd", Leaf("", weight, statistics=known), RankSetting(rank=rank))
        plain = transformed("svd", leaf(weight), RankSetting(rank=rank))
        torch.testing.assert_close(whitened.dense(), plain.dense(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tokens", [400, 20, 7])
def test_a_whitener_is_a_root_with_an_inverse(tokens: int) -> None:
    x = inputs(20, tokens=tokens)
    found, gram = whitener(statistics(x)), x.double().T @ x.double() / tokens
    torch.testing.assert_close(found.factor @ found.inverse, torch.eye(20, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.factor @ found.factor.T, gram, rtol=1e-4, atol=1e-5 * float(gram.abs().max()))


def heavy(shape: tuple[int, int], seed: int) -> Tensor:
    """Numbers with a few outliers, for which half-quadratic quantization was made."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * torch.randn(shape, generator=generator).abs().exp() / 10


def half_quadratic(w: np.ndarray, bits: int, method: HQQ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups (n, columns) → scales and the zero points at the start and at the end (n,), by the paper's two steps.

    As long as the mean error falls; the zero points of the least error count.
    """
    top = 2**bits - 1
    low, high = w.min(1), w.max(1)
    scale = ((high - low) / top).astype(np.float16).astype(np.float64)
    start = np.round(-low / scale) if bits == 4 else -low / scale
    zero, beta, best, kept = start, method.sharpness, np.inf, start
    for _ in range(method.iterations + 1):
        codes = np.clip(np.round(w / scale[:, None] + zero[:, None]), 0, top)
        left = w - (codes - zero[:, None]) * scale[:, None]
        if np.abs(left).mean() >= best:
            break
        best, kept = np.abs(left).mean(), zero
        with np.errstate(divide="ignore"):
            thrust = np.abs(left) ** (method.norm - 1) / beta
        shrunk = np.sign(left) * np.maximum(np.abs(left) - thrust, 0)
        zero = (codes - (w - shrunk) / scale[:, None]).mean(1)
        beta *= method.growth
    return scale, start, kept


def loss(w: np.ndarray, scale: np.ndarray, zero: np.ndarray, bits: int, norm: float) -> float:
    """Σ|W − s(q − z)|^p for the nearest codes."""
    codes = np.clip(np.round(w / scale[:, None] + zero[:, None]), 0, 2**bits - 1)
    return float((np.abs(w - (codes - zero[:, None]) * scale[:, None]) ** norm).sum())


@SEEDS
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [16, None])
def test_hqq_is_the_half_quadratic_iteration(seed: int, bits: int, group: int | None) -> None:
    weight, method = heavy((12, 48), seed), HQQ()
    found = transformed("hqq", leaf(weight), BitsSetting(bits=bits, group=group))
    assert isinstance(found, Quantized)
    assert found.zero is not None
    w = weight.double().numpy().reshape(-1, group or 48)
    scale, start, zero = half_quadratic(w, bits, method)
    assert np.array_equal(found.scale.double().numpy().reshape(-1), scale)
    mine = found.zero.double().numpy().reshape(-1)
    np.testing.assert_allclose(mine, zero, rtol=1e-3, atol=2e-3)
    assert loss(w, scale, mine, bits, 1) <= (1 + 1e-3) * loss(w, scale, start, bits, 1)  # what it stops by
    assert loss(w, scale, mine, bits, method.norm) <= 1.02 * loss(w, scale, start, bits, method.norm)
    codes = np.clip(np.round(w / scale[:, None] + mine[:, None]), 0, 2**bits - 1)
    np.testing.assert_allclose(
        found.dense().numpy().reshape(w.shape), (codes - mine[:, None]) * scale[:, None], rtol=1e-4, atol=1e-4
    )


@SEEDS
def test_hqq_forgives_outliers_more_than_rounding_does(seed: int) -> None:
    weight = heavy((32, 64), seed)
    for bits in (2, 3):
        mine, plain = (
            transformed(name, leaf(weight), BitsSetting(bits=bits, group=32)).dense() for name in ("hqq", "rtn")
        )
        assert (weight - mine).abs().pow(0.7).sum() < (weight - plain).abs().pow(0.7).sum()


@pytest.mark.parametrize("bits", [2, 4])
def test_one_grid_a_matrix_moves_as_one(bits: int) -> None:
    weight = heavy((6, 16), 0)
    found = transformed("hqq", leaf(weight), BitsSetting(bits=bits, group="tensor"))
    row = transformed("hqq", leaf(weight.reshape(1, -1)), BitsSetting(bits=bits))
    assert torch.equal(found.dense().reshape(-1), row.dense().reshape(-1))


def test_numbers_close_together_and_far_from_zero_keep_their_place() -> None:
    """Their zero point would lie where float16 knows no numbers."""
    for weight in (torch.full((2, 8), 0.3), -5 + matrix((2, 8)) * 1e-4, 3 + matrix((2, 8)) * 1e-2):
        for bits in (2, 4, 8):
            found = transformed("hqq", leaf(weight), BitsSetting(bits=bits, group=4)).dense()
            assert (
                (found - weight).abs() <= weight.abs().amax() / 1000 + (weight.max() - weight.min()) / 2**bits
            ).all()


@pytest.mark.parametrize("group", [None, 8, 10, "tensor"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounding_to_nearest_number_by_number(group: int | str | None, bits: int) -> None:
    """A ragged last group has a grid of its own."""
    weight = matrix((5, 28))
    expected = weight.double().numpy().copy()
    width = group if isinstance(group, int) else 28
    for rows in [slice(0, 5)] if group == "tensor" else [slice(i, i + 1) for i in range(5)]:
        for start in range(0, 28, width):
            piece = expected[rows, start : start + width]
            low, high = min(piece.min(), 0), max(piece.max(), 0)
            scale = float(np.float16((high - low) / (2**bits - 1)))
            zero = np.clip(np.round(-low / scale), 0, 2**bits - 1)
            piece[:] = (np.clip(np.round(piece / scale + zero), 0, 2**bits - 1) - zero) * scale
    found = transformed("rtn", leaf(weight), BitsSetting(bits=bits, group=group)).dense()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


def rounded_by_group(w: np.ndarray, bits: int, limits: np.ndarray | None = None) -> np.ndarray:
    """Groups (n, columns) on grids of their own; with limits (n), what is beyond one is moved to it first."""
    w = w if limits is None else np.clip(w, -limits[:, None], limits[:, None])
    low, high = np.minimum(w.min(1), 0)[:, None], np.maximum(w.max(1), 0)[:, None]
    scale = ((high - low) / (2**bits - 1)).astype(np.float16).astype(np.float64)
    zero = np.clip(np.round(-low / scale), 0, 2**bits - 1)
    result: np.ndarray = (np.clip(np.round(w / scale + zero), 0, 2**bits - 1) - zero) * scale
    return result


def awq_by_hand(
    weight: Tensor, x: Tensor, bits: int, group: int, clip: bool
) -> tuple[float, dict[tuple[int, int], float], float]:
    """The least ‖(W − W′)X‖² over α; each group's own least error over its range there; and all of them together."""
    w, seen = weight.double().numpy(), x.double().numpy()
    size, tried = np.sqrt((seen**2).mean(0)), list[tuple[float, np.ndarray]]()
    for alpha in np.arange(20) / 20:
        s = size**alpha
        columns = (np.sqrt(s.max() * s.min()) / s).astype(np.float16).astype(np.float64)
        q = rounded_by_group((w / columns).reshape(-1, group), bits).reshape(w.shape) * columns
        tried.append((float((((w - q) @ seen.T) ** 2).sum()), columns))
    best, columns = min(tried, key=lambda one: one[0])
    least, q = dict[tuple[int, int], float](), np.empty_like(w)
    for row, start in ((row, start) for row in range(len(w)) for start in range(0, w.shape[1], group)):
        mine, place = (w / columns)[row : row + 1, start : start + group], slice(start, start + group)
        for share in 1 - np.arange(10 if clip else 1) / 20:
            found = rounded_by_group(mine, bits, np.abs(mine).max(1) * share)
            lost = float((((mine - found) * columns[place] @ seen[:, place].T) ** 2).sum())
            if lost < least.get((row, start), np.inf):
                least[row, start], q[row, place] = lost, found[0] * columns[place]
    return best, least, float((((w - q) @ seen.T) ** 2).sum())


@SEEDS
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("clip", [False, True])
def test_awq_takes_the_best_power_and_then_the_best_ranges(seed: int, bits: int, clip: bool) -> None:
    """The ranges only where they help the matrix as a whole."""
    weight, x = heavy((6, 32), seed), inputs(32, seed=seed)
    best, least, together = awq_by_hand(weight, x, bits, 8, clip)
    found = transformed("awq", leaf(weight, x), BitsSetting(bits=bits, group=8), clip=clip)
    assert output_error(weight, found, x) ** 2 == pytest.approx(min(best, together), rel=1e-3)
    if clip and together < best:
        for (row, start), lost in least.items():
            error = (weight - found.dense()).double()[row, start : start + 8]
            assert float((x.double()[:, start : start + 8] @ error).square().sum()) == pytest.approx(lost, rel=1e-2)


@SEEDS
@pytest.mark.parametrize("group", [None, 12, "tensor"])
def test_awq_never_loses_more_of_the_output_than_its_parts(seed: int, group: int | str | None) -> None:
    """Without clipping no more than rounding to nearest; with it no more than without. A ragged group counts too."""
    weight, x = heavy((9, 40), seed), inputs(40, seed=seed)
    for bits in (2, 3, 4, 8):
        setting = BitsSetting.model_validate({"bits": bits, "group": group})
        one = leaf(weight, x)
        plain, scaled, clipped = (
            output_error(weight, transformed(name, one, setting, **own), x)
            for name, own in (("rtn", {}), ("awq", {"clip": False}), ("awq", {}))
        )
        assert clipped <= scaled * (1 + 1e-5)
        assert scaled <= plain * (1 + 1e-5)


def test_inputs_of_one_size_leave_nothing_to_scale() -> None:
    """Whatever α: the columns keep a scale of one, and without clipping it is rounding to nearest."""
    weight, known = matrix((8, 32)), Statistics(50, 50 * torch.eye(32), torch.zeros(32), torch.ones(32), "white")
    found = transformed("awq", Leaf("", weight, statistics=known), BitsSetting(bits=3, group=8), clip=False)
    assert isinstance(found, Scaled)
    assert torch.equal(found.columns, torch.ones(32).half())
    assert torch.equal(found.dense(), transformed("rtn", leaf(weight), BitsSetting(bits=3, group=8)).dense())


@SEEDS
@pytest.mark.parametrize("rank", [1, 6, 17])
def test_no_matrix_of_that_rank_is_closer_where_the_loss_feels_it(seed: int, rank: int) -> None:
    """Σ_i f_i ‖row i of W − W′‖²: not the plain SVD, not rows weighted by f itself, and none near by."""
    weight, generator = matrix((24, 20), seed), torch.Generator().manual_seed(seed)
    one = leaf(weight, inputs(20, seed=seed))
    assert one.statistics is not None
    assert one.statistics.fisher is not None
    fisher = one.statistics.fisher.double()
    best = transformed("fisher-svd", one, RankSetting(rank=rank))
    assert isinstance(best, LowRank)
    a, sigma, b = torch.linalg.svd(fisher[:, None] * weight.double(), full_matrices=False)
    others = [
        transformed("svd", one, RankSetting(rank=rank)).dense(),
        (a[:, :rank] * sigma[:rank]) @ b[:rank] / fisher[:, None],
    ]
    for size in (1e-3, 1e-2, 0.1):
        left, right = (
            part.dense() + size * torch.randn(part.shape, generator=generator) for part in (best.left, best.right)
        )
        others.append(left @ right)
    errors = [float((fisher[:, None] * (weight - other).double().square()).sum()) for other in (best.dense(), *others)]
    assert errors[0] < min(errors[1:])
    foretold = torch.linalg.svdvals(fisher.sqrt()[:, None] * weight.double())[rank:].square().sum()
    assert errors[0] == pytest.approx(float(foretold), rel=1e-4)


def test_rows_alike_make_it_the_plain_svd_and_rows_unfelt_are_given_up_first() -> None:
    weight, known = matrix((24, 20)), statistics(inputs(20), 24)
    alike = replace(known, fisher=torch.full((24,), 1e-12))
    mine = transformed("fisher-svd", Leaf("", weight, statistics=alike), RankSetting(rank=7)).dense()
    torch.testing.assert_close(
        mine, transformed("svd", leaf(weight), RankSetting(rank=7)).dense(), rtol=1e-4, atol=1e-4
    )
    felt = replace(known, fisher=(torch.arange(24) < 5).float())
    mine = transformed("fisher-svd", Leaf("", weight, statistics=felt), RankSetting(rank=5)).dense()
    torch.testing.assert_close(mine[:5], weight[:5], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("fisher", "told"), [
    (None, "needs gradients"), (torch.ones(7), "needs gradients"), (torch.full((8,), torch.nan), "not finite")])  # fmt: skip
def test_without_gradients_of_its_own_rows_it_is_refused(fisher: Tensor | None, told: str) -> None:
    known = replace(statistics(inputs(32)), fisher=fisher)
    with pytest.raises(ReparamError, match=told) as caught:
        transformed("fisher-svd", Leaf("", matrix((8, 32)), statistics=known), RankSetting(rank=2))
    assert "\n" not in str(caught.value)


def test_factors_know_no_gradients_of_the_whole() -> None:
    """Of a square matrix at full rank the right factor would have as many rows."""
    form = LowRank(Dense(matrix((8, 8))), Dense(matrix((8, 8), 1)))
    assert all(one.statistics and one.statistics.fisher is None for one in form.leaves(statistics(inputs(8), 8)))


@SEEDS
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("bits", [4, 8])
def test_smoothquant_rounds_both_sides_of_the_product(seed: int, alpha: float, bits: int) -> None:
    """Each row of W·diag s and each token of diag(1/s)·x on a symmetric grid, number by number."""
    weight, x = matrix((9, 24), seed), inputs(24, seed=seed)
    one = leaf(weight, x)
    found = transformed("smoothquant", one, BitsSetting(bits=bits, symmetric=True), alpha=alpha, input_bits=bits)
    assert isinstance(found, Scaled)
    w, seen, top = weight.double().numpy(), x.double().numpy(), 2 ** (bits - 1) - 1
    s = np.abs(seen).max(0) ** alpha / np.abs(w).max(0) ** (1 - alpha)
    columns = found.columns.double().numpy()
    np.testing.assert_allclose(columns * s / (columns * s)[0], 1, rtol=2e-3)  # 1/s, but for a factor
    np.testing.assert_allclose(columns.max() * columns.min(), 1, rtol=2e-3)
    steps = (np.abs(w / columns).max(1, keepdims=True) / top).astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(
        found.dense().numpy(), (w / columns / steps).round().clip(-top, top) * steps * columns, rtol=1e-4, atol=1e-5
    )
    steps = np.abs(seen * columns).max(1, keepdims=True) / top
    off = np.abs(found.seen(x).double().numpy() - (seen * columns / steps).round() * steps / columns)
    assert (off > 1e-4).mean() < 1e-3  # of numbers half way between two codes


@SEEDS
@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_takes_the_inputs_too_where_asked(seed: int, bits: int) -> None:
    """Each token on a symmetric grid of its own; the weights stay what they are without."""
    weight, x = matrix((9, 24), seed), inputs(24, seed=seed)
    setting = BitsSetting(bits=8, symmetric=True)
    found = transformed("rtn", leaf(weight), setting, input_bits=bits)
    assert torch.equal(found.dense(), transformed("rtn", leaf(weight), setting).dense())
    steps = x.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    torch.testing.assert_close(found(x), (x / steps).round() * steps @ found.dense().T, rtol=1e-4, atol=1e-4)


def test_what_outliers_of_inputs_cost_is_smoothed_away() -> None:
    """A channel a hundred times as large takes every token's grid; moved to the weights it does not."""
    weight, x = matrix((24, 32)), inputs(32)
    x[:, 5] *= 100
    setting, lost = BitsSetting(bits=8, symmetric=True), dict[float, float]()
    for alpha in (0.0, 0.5):
        form = transformed("smoothquant", leaf(weight, x), setting, alpha=alpha)
        lost[alpha] = float((form(x) - x @ weight.T).norm())
    assert lost[0.5] < lost[0.0] / 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_form_that_rounds_its_inputs_says_so_wherever_it_is(dtype: torch.dtype) -> None:
    weight, x = matrix((8, 8)), inputs(8).to(dtype)
    x[3] = 0
    made = transformed("smoothquant", leaf(weight), BitsSetting(bits=8), input_bits=3)
    assert isinstance(made, Scaled)
    pruned = Sparse(weight > 0, made)
    for form in (made, pruned, LowRank(Dense(weight), made), Sum([Dense(weight), made])):
        assert not form.exact
        again = unpack(*form.pack())
        assert not again.exact
        assert again(x).dtype == dtype
        assert torch.equal(again(x), form(x))
    assert torch.equal(pruned.seen(x), made.seen(x))
    assert len(made.seen(x[:1]).float().mul(made.columns.float()).round(decimals=2).unique()) <= 7
    assert LowRank(Dense(weight), Dense(weight)).exact
    assert "inputs rounded to 3 bits" in made.kernel
