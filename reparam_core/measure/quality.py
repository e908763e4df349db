"""Quality of a setting beside its base on the same questions, one probe after the other."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reparam_core.apply import Setting, base
from reparam_core.data import IGNORED, Sequences, refuse_overlap, refuse_rows
from reparam_core.measure.evaluation import Evaluation, Probe
from reparam_core.models import Model
from reparam_core.models.model import logits_of
from reparam_core.store import key, store

BLOCK = 64  # tokens that are drawn together: neighbours are not independent
LEAST_BLOCKS = 16
DRAWS = 2000
KL_PROBES = 4


@dataclass(frozen=True)
class Scores:
    """What a module made of some probes."""

    loss: Tensor  # nats, one a scored token (one a question where it chose among candidates)
    right: Tensor  # bool, one an answer
    chosen: Tensor  # what it answered, one an answer
    true: Tensor
    log_probabilities: tuple[Tensor, ...] = ()  # of the first probes, for the divergence
    seconds: float = 0.0  # that scoring took


def scored(module: nn.Module, probe: Probe, by_row: bool, keep: bool = False) -> Scores:
    """Score one probe, and say how long it took."""
    started = time.perf_counter()
    found = _scored(module, probe, by_row, keep)
    return replace(found, seconds=time.perf_counter() - started)


def _scored(module: nn.Module, probe: Probe, by_row: bool, keep: bool) -> Scores:
    with torch.inference_mode():
        logits = _logits(module(**probe.inputs))
        kept: list[Tensor] = []
        rows = [_row(one, target, kept if keep else None) for one, target in zip(logits, probe.targets, strict=True)]
    if probe.choices:
        return _chosen(rows, probe)
    loss, right, best, true = (torch.cat([row[i] for row in rows]) for i in range(4))
    if by_row:
        right = torch.stack([row[1].all() for row in rows])
        best, true = (torch.stack([row[i][0] for row in rows]) for i in (2, 3))
    return Scores(loss, right, best, true, tuple(kept))


def _logits(answer: Any) -> Tensor:
    """(rows, positions, classes): a classifier has one position."""
    logits = logits_of(answer)
    return logits if logits.dim() == 3 else logits[:, None]


def _row(logits: Tensor, targets: Tensor, kept: list[Tensor] | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One row's loss, whether right, best and true: a row at a time stays in the processor's cache."""
    where = targets != IGNORED
    logits, targets = logits[: len(targets)].float(), targets[where]
    logits = logits if bool(where.all()) else logits[where]
    normalizer = logits.logsumexp(-1)
    if kept is not None:
        kept.append((logits - normalizer[:, None]).half())
    best = logits.argmax(-1)
    return normalizer - logits.gather(-1, targets[:, None]).squeeze(-1), best == targets, best, targets


def _chosen(rows: Sequence[tuple[Tensor, ...]], probe: Probe) -> Scores:
    """The candidate of least total loss, and the cross-entropy over the candidates."""
    totals = torch.stack([row[0].double().sum() for row in rows]).split(list(probe.choices))
    loss = torch.stack([-(-each).log_softmax(0)[answer] for each, answer in zip(totals, probe.answers, strict=True)])
    best, true = torch.stack([each.argmin() for each in totals]), torch.tensor(probe.answers)
    return Scores(loss.float(), best == true, best, true)


def divergence(base: Scores, setting: Scores) -> Tensor:
    """KL(base ‖ setting) in nats at each position of whose distributions both were kept."""
    rows = [torch.empty(0)]
    for theirs, own in zip(base.log_probabilities, setting.log_probabilities, strict=False):
        p, q = (one.float().log_softmax(-1) for one in (theirs, own))
        rows.append((p.exp() * (p - q)).sum(-1))
    return torch.cat(rows)


def joined(scores: list[Scores]) -> Scores:
    """Several probes' scores as one, but for the distributions, which are too large to gather."""
    loss, right, chosen, true = (
        torch.cat([getattr(one, name) for one in scores]) for name in ("loss", "right", "chosen", "true")
    )
    return Scores(loss, right, chosen, true, seconds=sum(one.seconds for one in scores))


def paired_interval(difference: Tensor, block: int = BLOCK, seed: int = 0) -> tuple[float, float] | None:
    """95 % bootstrap interval of a mean over blocks of neighbours; None below 16 blocks."""
    flat = difference.reshape(-1).double().numpy()
    if len(flat) // block < LEAST_BLOCKS:
        return None
    starts = np.arange(0, len(flat), block)  # the last block may be short: it weighs as many tokens as it has
    sums, sizes = np.add.reduceat(flat, starts), np.minimum(block, len(flat) - starts)
    picked = np.random.default_rng(seed).integers(0, len(starts), (DRAWS, len(starts)))
    low, high = np.quantile(sums[picked].sum(1) / sizes[picked].sum(1), [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Quality:
    """What is known of a setting and its base after some probes of an evaluation."""

    evaluation: Evaluation
    setting: Scores
    base: Scores
    probes: int
    final: bool = False
    divergence: Tensor = field(default_factory=lambda: torch.empty(0))  # KL(base ‖ setting), at each position looked at

    @property
    def tokens(self) -> int:
        """How many positions were scored."""
        return self.setting.loss.numel()

    @property
    def answers(self) -> int:
        """How many answers were right or wrong."""
        return self.setting.right.numel()

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
        return self._interval(self.setting.loss - self.base.loss)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.setting.right.double().mean())

    @property
    def base_accuracy(self) -> float:
        """The base's, on the same questions."""
        return float(self.base.right.double().mean())

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """95 % interval of the accuracy itself."""
        return self._interval(self.setting.right.double())

    @property
    def delta_accuracy_interval(self) -> tuple[float, float] | None:
        """95 % paired interval of the difference in accuracy."""
        return self._interval(self.setting.right.double() - self.base.right.double())

    @property
    def flips(self) -> float:
        """Share of answers where the base was right and the setting is wrong."""
        return float((self.base.right & ~self.setting.right).double().mean())

    @property
    def kl_from_base(self) -> float | None:
        """Mean KL(base ‖ setting) in nats over the first probes."""
        return max(0.0, float(self.divergence.double().mean())) if len(self.divergence) else None

    @property
    def confusion(self) -> list[list[int]]:
        """How often each label (row) was answered by each (column)."""
        labels = self.evaluation.labels
        found = torch.zeros(len(labels), len(labels), dtype=torch.int64)
        found.index_put_((self.setting.true, self.setting.chosen), torch.tensor(1), accumulate=True)
        return found.tolist()

    def blocks(self, values: Tensor) -> list[float]:
        """Means over whole blocks, as the intervals draw them."""
        block = self._block(values)
        whole = len(values) // block * block
        means: list[float] = values[:whole].double().view(-1, block).mean(1).tolist()
        return means

    def _block(self, values: Tensor) -> int:
        """How many neighbours are drawn together: answers to a table one by one, tokens in blocks."""
        return 1 if self.evaluation.labelled and len(values) == self.answers else BLOCK

    def _interval(self, difference: Tensor) -> tuple[float, float] | None:
        return paired_interval(difference, self._block(difference))


class BaseScores:
    """The base's scores, remembered for the evaluations used last: every setting is compared with the same ones."""

    def __init__(self, evaluations: int = 8) -> None:
        self._kept: OrderedDict[tuple[Any, ...], dict[int, Scores]] = OrderedDict()
        self._lock = threading.Lock()
        self._evaluations = evaluations

    def of(self, setting: Setting, asked: Evaluation, index: int, keep: bool) -> Scores:
        """Of that probe, for the base of this setting."""
        name = (setting.model.sha256, setting.dtype, asked.key, len(asked.probes), keep)
        with self._lock:
            scores = self._kept.setdefault(name, {})
            self._kept.move_to_end(name)
            while len(self._kept) > self._evaluations:
                self._kept.popitem(last=False)
        if index not in scores:
            scores[index] = _scored_base(setting, asked, index, keep)
        return scores[index]


def _scored_base(setting: Setting, asked: Evaluation, index: int, keep: bool) -> Scores:
    """From the store where it was scored before; never where its distributions are wanted, which are too large to keep."""
    name = key(base=setting.model.sha256, dtype=str(setting.dtype), asked=asked.key, of=len(asked.probes), probe=index,
               shape=list(asked.probes[index].targets.shape))  # fmt: skip
    kept = None if keep else store().get(name)
    if kept is not None:
        loss, right, chosen, true = (torch.tensor(kept[one]) for one in ("loss", "right", "chosen", "true"))
        return Scores(loss, right, chosen, true)
    module = base(setting.model, setting.dtype).module
    found = scored(module, asked.probes[index], asked.by_row, keep)
    if not keep:
        numbers = {one: getattr(found, one).tolist() for one in ("loss", "right", "chosen", "true")}
        store().put(name, numbers, model="", recipe="")
    return found


_base_scores = BaseScores()
_apart: set[str] = set()  # the calibrations and evaluations that are known to share nothing


def refuse_calibrated(model: Model, read: Sequences | None, asked: Evaluation) -> None:
    """Raises ReparamError where what is asked stands in what was read as calibration text.

    `quality_steps` asks, whoever measures; who has much to do before asks first.
    """
    if read is None:
        return
    ids = hashlib.sha256(read.ids.numpy().tobytes()).hexdigest()
    name = key(model=model.sha256, calibration=ids, asked=asked.key)
    if name not in _apart:
        if asked.tokens is not None:
            refuse_overlap(read.ids, asked.tokens, asked.name)
        refuse_rows(read.ids, map(model.encode, asked.rows), asked.name)
        _apart.add(name)


def quality_steps(setting: Setting, asked: Evaluation, kl_probes: int = KL_PROBES) -> Iterator[Quality]:
    """One Quality a probe, each over all the probes so far.

    Raises ReparamError where the setting was calibrated on what is asked.
    """
    refuse_calibrated(setting.model, setting.calibration, asked)
    own: list[Scores] = []
    theirs: list[Scores] = []
    apart = torch.empty(0)
    changed = setting.module is not base(setting.model, setting.dtype).module
    for index, probe in enumerate(asked.probes):
        keep = index < kl_probes and not asked.labelled
        theirs.append(_base_scores.of(setting, asked, index, keep))
        own.append(scored(setting.module, probe, asked.by_row, keep) if changed else theirs[-1])
        apart = torch.cat([apart, divergence(theirs[-1], own[-1])])
        own, theirs = [joined(own)], [joined(theirs)]
        yield Quality(asked, own[0], theirs[0], index + 1, index + 1 == len(asked.probes), apart)


def quality(setting: Setting, asked: Evaluation) -> Quality:
    """After the last probe."""
    return list(quality_steps(setting, asked))[-1]
