"""How well a model predicts a text, beside its base on the same tokens, sequence by sequence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

BLOCK = 64  # tokens that are drawn together: neighbours are not independent
LEAST_BLOCKS = 16
KL_SEQUENCES = 4


@dataclass
class Scores:
    """Per scored token of some sequences: loss in nats, and whether the likeliest token was the true one."""

    loss: Tensor  # (N, L − 1)
    right: Tensor  # (N, L − 1) bool
    log_probabilities: list[Tensor] = field(default_factory=list)  # of the first sequences, for the divergence


def scored(module: nn.Module, ids: Tensor, keep: bool = False) -> Scores:
    """Score ids (N, L): every position but a sequence's first."""
    with torch.inference_mode():
        logits = module(input_ids=ids, use_cache=False).logits[:, :-1].float()
        log_p = logits.log_softmax(-1)
    loss = -log_p.gather(-1, ids[:, 1:, None]).squeeze(-1)
    kept = [log_p.half()] if keep else []
    return Scores(loss, log_p.argmax(-1) == ids[:, 1:], kept)


def paired_interval(difference: Tensor, seed: int = 0, draws: int = 2000) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean difference over blocks of 64 tokens; None below 16 blocks."""
    flat = difference.reshape(-1).double().numpy()
    blocks = len(flat) // BLOCK
    if blocks < LEAST_BLOCKS:
        return None
    means = flat[: blocks * BLOCK].reshape(blocks, BLOCK).mean(1)
    picked = np.random.default_rng(seed).integers(0, blocks, (draws, blocks))
    low, high = np.quantile(means[picked].mean(1), [0.025, 0.975])
    return float(low), float(high)


@dataclass
class Quality:
    """What is known of a setting after some sequences."""

    setting: Scores
    base: Scores

    @property
    def sequences(self) -> int:
        """How many were scored."""
        return len(self.setting.loss)

    @property
    def tokens(self) -> int:
        """How many positions were scored."""
        return self.setting.loss.numel()

    @property
    def nll(self) -> float:
        """Nats per scored token."""
        return float(self.setting.loss.double().mean())

    @property
    def base_nll(self) -> float:
        """The base's, on the same tokens."""
        return float(self.base.loss.double().mean())

    @property
    def perplexity(self) -> float:
        """exp(nll), infinite where float64 ends."""
        return math.exp(self.nll) if self.nll < 700 else math.inf

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % paired interval of the difference in nll."""
        return paired_interval(self.setting.loss - self.base.loss)

    @property
    def accuracy(self) -> float:
        """Share of positions whose likeliest token is the true one."""
        return float(self.setting.right.double().mean())

    @property
    def base_accuracy(self) -> float:
        """The base's, on the same positions."""
        return float(self.base.right.double().mean())

    @property
    def flips(self) -> float:
        """Share of positions where the base was right and the setting is wrong."""
        return float((self.base.right & ~self.setting.right).double().mean())

    @property
    def kl_from_base(self) -> float | None:
        """Mean KL(base ‖ setting) in nats over the first sequences."""
        pairs = list(zip(self.base.log_probabilities, self.setting.log_probabilities, strict=False))
        if not pairs:
            return None
        each = [(p.float().exp() * (p.float() - q.float())).sum(-1).mean() for p, q in pairs]
        return float(torch.stack(each).mean())


def quality_steps(setting: nn.Module, base: nn.Module, ids: Tensor) -> Iterator[Quality]:
    """One Quality a sequence, each over all the sequences so far; base and setting are the same module for `base`."""
    own: list[Scores] = []
    theirs: list[Scores] = []
    for index, row in enumerate(ids):
        keep = index < KL_SEQUENCES
        theirs.append(scored(base, row[None], keep))
        own.append(theirs[-1] if setting is base else scored(setting, row[None], keep))
        yield Quality(_joined(own), _joined(theirs))


def _joined(scores: list[Scores]) -> Scores:
    kept = [one for each in scores for one in each.log_probabilities]
    return Scores(torch.cat([one.loss for one in scores]), torch.cat([one.right for one in scores]), kept)
