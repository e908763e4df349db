"""What optimal-brain-surgeon methods share: the inverse of the layer's Hessian H ∝ XᵀX and its walk over the columns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.parametrizations import Statistics

BLOCK = 128  # columns whose updates of later columns are gathered, as in the authors' code
HARDER = 10.0  # times the damping after a factorization that failed
ATTEMPTS = 6
Settle = Callable[[int, Tensor], Tensor]  # a column's place, and what W has become → what is stored of it
Begin = Callable[[int, int, Tensor], None]  # where a block begins and ends, and what W has become


def inverse_factor(statistics: Statistics, damping: float) -> Tensor:
    """Upper Cholesky factor U of (H + λI)⁻¹ = UᵀU with λ = damping · mean(diag H); (in, in), float32.

    A channel that no token ever used gets a diagonal of one. Where H is singular in spite of λ, λ grows tenfold.
    """
    hessian = statistics.gram.double() / max(1, statistics.count)
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1  # in place
    step = damping * diagonal.mean()
    for _ in range(ATTEMPTS):
        hessian.diagonal().add_(step)
        factor, failed = torch.linalg.cholesky_ex(hessian)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(factor), upper=True)
        if not failed:
            return upper.float()
        step *= HARDER
    raise ReparamError("The Hessian of this matrix cannot be inverted.", "Use more calibration text, or more damping.")


def unused(statistics: Statistics) -> Tensor:
    """True for the channels that no token ever used, (in)."""
    return statistics.gram.diagonal() == 0


def walk_columns(
    weight: Tensor, factor: Tensor, settle: Settle, begin: Begin = lambda _start, _end, _now: None
) -> Tensor:
    """Settle W's columns from the left; each column's error is made up for by those to its right (OBS).

    weight (out, in), factor as `inverse_factor` gives it. `settle` is told a column's place and what W has become, and
    answers with what is stored of that column; `begin` is told where a block of columns begins and ends.
    """
    now, settled = weight.clone(), torch.empty_like(weight)
    for start in range(0, weight.shape[1], BLOCK):
        end = min(start + BLOCK, weight.shape[1])
        begin(start, end, now)
        errors = torch.empty(len(weight), end - start)
        for j in range(start, end):
            settled[:, j] = settle(j, now)
            error = (now[:, j] - settled[:, j]) / factor[j, j]
            now[:, j:end].addr_(error, factor[j, j:end], alpha=-1)
            errors[:, j - start] = error
        now[:, end:].addmm_(errors, factor[start:end, end:], alpha=-1)
    return settled
