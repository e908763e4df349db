"""Rotations are orthogonal and spread what stands out; gains and scales move; a network is never written to."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reparam_core.methods.rewriting import Network, Norm, Transform, folded
from reparam_core.methods.transform.rotate import hadamard_order, rotation
from reparam_core.methods.transform.smooth import LEAST, MOST, Smooth, scale
from reparam_core.registry import transforms


def network(width: int = 24, head: int = 4, tied: bool = True) -> Network:
    """One block of two heads over one of keys and values, with an outlier in one channel of the stream."""
    drawn = torch.Generator().manual_seed(0)
    shapes = {"embedding": (50, width), "q": (2 * head, width), "v": (head, width), "o": (width, 2 * head),
              "gate": (30, width), "up": (30, width), "down": (width, 30)}  # fmt: skip
    weights = {role: torch.randn(shape, generator=drawn) for role, shape in shapes.items()}
    for role in ("embedding", "o", "down"):
        weights[role].select(0 if role != "embedding" else 1, 5).mul_(30)
    gains = [torch.rand(width, generator=drawn) + 0.5 for _ in range(3)]
    norms = {"first": Norm(gains[0], ("q", "v")), "second": Norm(gains[1], ("gate", "up")),
             "last": Norm(gains[2], () if tied else ("up",))}  # fmt: skip
    return Network(
        weights,
        {role: torch.randn(len(weights[role]), generator=drawn) for role in ("o", "v", "up")},
        norms,
        "embedding",
        ("o", "down"),
        (("v", "o"),),
        (("up", "down"),),
        head,
        False,
        _peaks({role: weights[role].shape[1] for role in ("q", "v", "gate", "up", "o", "down")}, drawn),
    )


def _peaks(widths: dict[str, int], drawn: torch.Generator) -> dict[str, Tensor]:
    """As calibration text might show them, the same of the same input."""
    found = {role: torch.exp(2 * torch.randn(size, generator=drawn)) for role, size in widths.items()}
    return found | {"v": found["q"], "up": found["gate"]}


@pytest.mark.parametrize("size", [1, 4, 7, 12, 64, 96, 576])
@pytest.mark.parametrize("hadamard", [True, False])
def test_a_rotation_is_orthogonal(size: int, hadamard: bool) -> None:
    order = hadamard_order(size) if hadamard else 1
    found = rotation(size, order, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found @ found.T, torch.eye(size, dtype=torch.float64), atol=1e-12, rtol=0)
    assert not torch.equal(found, rotation(size, order, torch.Generator().manual_seed(2)))


@pytest.mark.parametrize(("size", "order"), [(576, 64), (256, 256), (9, 1), (12, 4), (2560, 512)])
def test_the_hadamard_matrix_is_the_largest_that_fits(size: int, order: int) -> None:
    assert hadamard_order(size) == order
    if size == order:
        entries = rotation(size, order, torch.Generator()).abs()
        torch.testing.assert_close(entries, torch.full_like(entries, size**-0.5))


@pytest.mark.parametrize("name", transforms())
def test_a_rewrite_writes_to_nothing(name: str) -> None:
    before, again = network(), network()
    method: Transform = transforms()[name]()
    method.rewrite(before)
    assert all(torch.equal(before.weights[role], again.weights[role]) for role in before.weights)
    assert all(torch.equal(before.norms[path].gain, again.norms[path].gain) for path in before.norms)
    assert all(torch.equal(before.biases[role], again.biases[role]) for role in before.biases)
    assert method.summary
    assert method.formula


def test_folding_multiplies_columns_and_leaves_the_tied_head() -> None:
    before = network()
    after = folded(before)
    assert torch.equal(after.weights["up"], before.weights["up"] * before.norms["second"].gain)
    assert torch.equal(after.norms["second"].gain, torch.ones(24))
    assert after.norms["last"] == before.norms["last"]
    assert after.weights["down"] is before.weights["down"]


def test_a_channel_that_stands_out_is_spread_over_all() -> None:
    def stands_out(found: Network) -> float:
        stream = found.weights["embedding"]
        return float(stream.abs().max() / stream.square().mean().sqrt())

    before = network()
    after = transforms()["rotate"]().rewrite(before)
    assert stands_out(after) < 0.7 * stands_out(before)
    torch.testing.assert_close(after.weights["embedding"].norm(), before.weights["embedding"].norm())


def test_a_tied_heads_gain_turns_with_the_stream() -> None:
    """Behind the last norm stands R diag(g) Rᵀ: its singular values are the gains, and no head has been untied."""
    before = network()
    last = transforms()["rotate"]().rewrite(before).norms["last"]
    assert last.behind is not None
    torch.testing.assert_close(
        torch.linalg.svdvals(last.behind), before.norms["last"].gain.sort(descending=True).values
    )
    assert transforms()["rotate"]().rewrite(network(tied=False)).norms["last"].behind is None


STRENGTHS = st.floats(0, 1)


def channels(sizes: st.SearchStrategy[float]) -> st.SearchStrategy[Tensor]:
    """(3, channels): of each the largest input, and the largest numbers of the matrices before and behind it."""
    return st.lists(st.tuples(sizes, sizes, sizes), min_size=1, max_size=12).map(lambda one: torch.tensor(one).T)


@given(channels(st.floats(1 / 8, 8)), STRENGTHS)
def test_scales_are_smoothquants_rule(sizes: Tensor, a: float) -> None:
    """peak^α / later^(1−α), over its geometric mean."""
    peak, earlier, later = sizes
    rule = peak**a / later ** (1 - a)
    torch.testing.assert_close(scale(peak, earlier, later, a), rule / rule.log().mean().exp(), rtol=1e-4, atol=0)


@given(channels(st.floats(0, width=32)), STRENGTHS)
def test_whatever_the_numbers_scales_are_finite_and_float16_holds_what_they_make(
    sizes: Tensor, strength: float
) -> None:
    peak, earlier, later = sizes
    s = scale(peak, earlier, later, strength)
    assert (s.isfinite() & (s > 0)).all()
    unused = ((sizes == 0) | sizes.isinf()).any(0)
    assert (s[unused] == 1).all()
    for before, after in ((earlier, earlier / s), (later, later * s)):
        assert (after <= 1.001 * before.clamp(min=2.0**MOST)).all()
        assert (after >= 0.999 * before.clamp(max=2.0**LEAST)).all()


def test_a_scale_goes_from_one_matrix_to_the_next() -> None:
    """down takes up ⊙ act(gate), o the values of a head that two heads of queries share, readers a norm's answer."""
    before = network()
    after = Smooth().rewrite(before)
    up = before.biases["up"] / after.biases["up"]
    torch.testing.assert_close(after.weights["down"], before.weights["down"] * up)
    gain = before.norms["second"].gain / after.norms["second"].gain
    torch.testing.assert_close(after.weights["gate"], before.weights["gate"] * gain)
    torch.testing.assert_close(after.weights["up"], before.weights["up"] * gain / up[:, None])
    v = before.biases["v"] / after.biases["v"]
    torch.testing.assert_close(after.weights["o"], before.weights["o"] * v.repeat(2))
    first = before.norms["first"].gain / after.norms["first"].gain
    torch.testing.assert_close(after.weights["v"], before.weights["v"] * first / v[:, None])
    torch.testing.assert_close(after.weights["q"], before.weights["q"] * first)
    assert all(len(one.unique()) > 1 for one in (up, gain, v, first))
    assert after.norms["last"] == before.norms["last"]
    assert after.weights["embedding"] is before.weights["embedding"]


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 1.0])
def test_the_strength_says_how_much_of_the_inputs_range_stays(strength: float) -> None:
    """Peaks of inputs become X^(1−α) W^(1−α), of columns X^α W^α: at a half they are alike in every channel."""
    before = network()
    after = Smooth(strength).rewrite(before)
    s = before.biases["up"] / after.biases["up"]
    x, w = before.peaks["down"], before.weights["down"].abs().amax(0)
    left = (x / s) / (x * w) ** (1 - strength)
    columns = after.weights["down"].abs().amax(0) / (x * w) ** strength
    for one in (left, columns):
        torch.testing.assert_close(one, one.mean().expand_as(one), rtol=1e-4, atol=0)


def test_a_channel_that_nothing_uses_stays() -> None:
    before = network()
    before.weights["up"][3], before.biases["up"][3] = 0, 0
    before.weights["down"][:, 5] = 0
    before.norms["second"].gain[7] = 0
    idle = replace(before, peaks={**before.peaks, "o": torch.zeros(8)})
    after = Smooth().rewrite(idle)
    assert torch.equal(after.weights["down"][:, [3, 5]], before.weights["down"][:, [3, 5]])
    assert torch.equal(after.weights["gate"][:, 7], before.weights["gate"][:, 7])
    assert torch.equal(after.weights["o"], before.weights["o"])
    assert all(one.isfinite().all() for one in after.weights.values())
