"""Rotations are orthogonal and spread what stands out; folding moves gains; a network is never written to."""

import pytest
import torch

from reparam_core.methods.rewriting import Network, Norm, Transform, folded
from reparam_core.methods.transform.rotate import hadamard_order, rotation
from reparam_core.registry import transforms


def network(width: int = 24, head: int = 4, tied: bool = True) -> Network:
    """One block of two heads over one of keys and values, with an outlier in one channel of the stream."""
    drawn = torch.Generator().manual_seed(0)
    shapes = {"embedding": (50, width), "q": (2 * head, width), "v": (head, width), "o": (width, 2 * head),
              "up": (30, width), "down": (width, 30)}  # fmt: skip
    weights = {role: torch.randn(shape, generator=drawn) for role, shape in shapes.items()}
    for role in ("embedding", "o", "down"):
        weights[role].select(0 if role != "embedding" else 1, 5).mul_(30)
    gains = [torch.rand(width, generator=drawn) + 0.5 for _ in range(3)]
    norms = {"first": Norm(gains[0], ("q", "v")), "second": Norm(gains[1], ("up",)),
             "last": Norm(gains[2], () if tied else ("up",))}  # fmt: skip
    return Network(
        weights,
        {"o": torch.randn(width, generator=drawn)},
        norms,
        "embedding",
        ("o", "down"),
        (("v", "o"),),
        head,
        False,
    )


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
    assert torch.equal(before.biases["o"], again.biases["o"])
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
