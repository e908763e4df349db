"""A square root of the inputs' Gram matrix, in which errors of the weights are errors of the output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reparam_core.parametrizations import Statistics

LEAST = 1e-8  # of the largest eigenvalue: below it a direction counts as that large


@dataclass(frozen=True)
class Whitener:
    """S with XᵀX ≈ S Sᵀ, and its inverse; both (in, in), float64."""

    factor: Tensor
    inverse: Tensor


def whitener(statistics: Statistics) -> Whitener:
    """Cholesky's factor; where the Gram matrix is singular, that of its eigenvectors, with eigenvalues held above zero.

    Fewer tokens than channels, or a channel that is never used, make it singular. Where no channel is used at all, every
    direction counts the same.
    """
    gram = statistics.gram.double() / max(1, statistics.count)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if not failed and float(factor.diagonal().min()) ** 2 > LEAST * float(gram.diagonal().max()):
        identity = torch.eye(len(gram), dtype=gram.dtype)
        return Whitener(factor, torch.linalg.solve_triangular(factor, identity, upper=False))
    values, vectors = torch.linalg.eigh(gram)
    largest = float(values.max())
    roots = values.clamp_min(LEAST * largest if largest > 0 else 1).sqrt()
    return Whitener(vectors * roots, (vectors / roots).T)
