"""Alternating least squares for W = U Vᵀ."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def alternating(
    w: Tensor, r: int, iterations: int, tolerance: float, seed: int
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """U (m, r), V (n, r) and the relative loss ‖W − UVᵀ‖²/‖W‖² after every round, from a random start until converged."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.linalg.qr(torch.randn(w.shape[1], r, generator=generator).to(w.dtype)).Q
    total, before = float(w.square().sum()) or 1.0, float("inf")
    for _ in range(iterations):
        u = _least_squares(v, w.T).T  # argmin_U ‖W − UVᵀ‖
        v = _least_squares(u, w).T  # argmin_V ‖W − UVᵀ‖
        loss = float((w - u @ v.T).square().sum()) / total
        yield u, v, loss
        if before - loss <= tolerance * loss:
            return
        before = loss


def _least_squares(factor: Tensor, target: Tensor) -> Tensor:
    """argmin_X ‖factor · X − target‖ by QR, which squares no condition number; (m, r), (m, n) → X (r, n).

    Of a factor whose rank is below r many X do: the least one, lest they grow from round to round.
    """
    q, upper = torch.linalg.qr(factor)
    size = upper.diagonal().abs()
    if bool((size <= max(factor.shape) * torch.finfo(upper.dtype).eps * upper.abs().max()).any()):
        return torch.linalg.lstsq(factor, target, driver="gelsd").solution
    return torch.linalg.solve_triangular(upper, q.T @ target, upper=True)
