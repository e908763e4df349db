"""What calibration text tells about the inputs of a matrix."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Of the inputs x (in) of one matrix over `count` tokens; matrices with the same input share them."""

    count: int
    gram: Tensor  # Σ x xᵀ, (in, in), float32
    mean: Tensor  # of every channel, (in)
    peak: Tensor  # largest |x| of every channel, (in)
    digest: str  # of what they were gathered from
    fleeting: bool = False  # of inputs that no other setting has: what is prepared from them is not kept
    fisher: Tensor | None = None  # Σ (∂loss/∂w)² of every row of the matrix, (out): of the base's own alone
    rises: Tensor | None = None  # of the base's loss without the unit that a channel belongs to, (in)

    @property
    def norms(self) -> Tensor:
        """‖x_j‖₂ of every channel over all tokens, (in)."""
        return self.gram.diagonal().clamp_min(0).sqrt()

    @property
    def variance(self) -> Tensor:
        """How far every channel moves around its mean: the mean of (x_j − mean_j)² over all tokens, (in)."""
        square = self.gram.diagonal().double() / max(1, self.count)
        return (square - self.mean.double().square()).clamp_min(0).float()

    @property
    def of_inputs(self) -> Statistics:
        """Without what is known of the matrix's rows: what a factor with the same inputs and other rows is told."""
        return self if self.fisher is None else replace(self, fisher=None)

    def shrunk(self, share: float) -> Statistics:
        """With the Gram matrix drawn towards the identity times its mean eigenvalue (Ledoit and Wolf, 2004)."""
        middle = share * self.gram.diagonal().mean()
        gram = (1 - share) * self.gram + middle * torch.eye(len(self.gram))
        return replace(self, gram=gram, digest=hashlib.sha256(f"{self.digest}|{share}".encode()).hexdigest())

    def sliced(self, rows: Tensor | None, columns: Tensor | None) -> Statistics:
        """Of these columns of the input alone, and of these rows of the matrix; None: all of them."""
        gram, mean, peak, fisher, rises = self.gram, self.mean, self.peak, self.fisher, self.rises
        if columns is not None:
            gram, mean, peak = gram[columns[:, None], columns], mean[columns], peak[columns]
            rises = None if rises is None else rises[columns]
        if rows is not None and fisher is not None:
            fisher = fisher[rows]
        places = b"|".join(b"" if kept is None else kept.numpy().tobytes() for kept in (rows, columns))
        digest = hashlib.sha256(self.digest.encode() + places).hexdigest()
        return replace(self, gram=gram, mean=mean, peak=peak, fisher=fisher, rises=rises, digest=digest)

    def through(self, factor: Tensor) -> Statistics:
        """Of y = factor · x, factor (r, in): what the left factor of a low-rank pair sees, Gram R G Rᵀ."""
        gram = factor @ self.gram @ factor.T
        digest = hashlib.sha256(self.digest.encode() + factor.contiguous().numpy().tobytes()).hexdigest()
        # A sum bounds what single tokens reached, which is no longer known.
        peak = gram.diagonal().clamp_min(0).sqrt()
        return Statistics(self.count, gram, factor @ self.mean, peak, digest, self.fleeting)
