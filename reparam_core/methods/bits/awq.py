"""Activation-aware weight quantization (Lin et al., 2023, section 3.2; the clipping is that of the authors' code)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from reparam_core.methods.base import OfInputsMethod, Prepared
from reparam_core.methods.grids import groups_of, rounded
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf, Quantized, Scaled, Statistics
from reparam_core.parametrizations.quantized import PER_TENSOR, Group, by_group, group_columns, over_group
from reparam_core.registry import register

LEAST = 1e-4  # of the mean scale: a channel that is never used keeps that much of a say
SHRINK = 0.5  # of a group's range at most


@register
@dataclass(frozen=True)
class AWQ(OfInputsMethod):
    """min over α, then over each group's range, of ‖(W − Q(W·diag s)·diag(1/s))X‖ with s = |x|^α: 20 values of α.

    |x| is the root mean square of a channel's inputs (the paper takes the mean of |x|). Matrices with the same inputs have
    an α of their own each and keep their 1/s; the authors share it, and fold it into the layer before. A group's range is
    what makes that group's own error least; all keep their full one where those together lose more of the output.
    """

    name: ClassVar[str] = "awq"
    axis: ClassVar[str] = "bits"
    symmetric: ClassVar[bool] = True
    summary: ClassVar[str] = "scales channels up that inputs use most"
    formula: ClassVar[str] = (
        r"\min_{\alpha}\lVert WX-Q\big(W\,\mathrm{diag}(s)\big)\,\mathrm{diag}(s)^{-1}X\rVert_F^2,\\ s=\overline{|x|}^{\,\alpha}"
    )
    instant: ClassVar[bool] = False
    caches: ClassVar[bool] = False

    steps: Annotated[int, Field(ge=1)] = 20  # of α from 0 to 1, and of a range from all of it to nothing
    clip: bool = True

    def prepare_inputs(self, statistics: Statistics) -> Prepared:
        count = max(1, statistics.count)
        return {"gram": statistics.gram / count, "size": statistics.norms / count**0.5}

    def worked(self, leaves: Mapping[str, Leaf], setting: BitsSetting) -> str:
        (leaf,) = leaves.values()
        return f"{super().worked(leaves, setting)}; s of {leaf.weight.shape[1]:,} columns"

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Scaled:
        weight, gram, least, best = leaf.weight.float(), prepared["gram"], torch.inf, None
        for step in range(self.steps):
            columns = _columns(prepared["size"], step / self.steps)
            scaled, seen = weight / columns, gram * columns * columns[:, None]
            found = rounded(scaled, setting)
            lost = _lost(scaled - found.dense(), seen)
            if best is None or lost < least:
                least, best = lost, (found, columns, scaled, seen)
        assert best is not None
        found, columns, scaled, seen = best
        if self.clip:
            clipped = self._clipped(scaled, seen, setting)
            found = clipped if _lost(scaled - clipped.dense(), seen) < least else found
        return Scaled(found, columns.half())

    def _clipped(self, weight: Tensor, gram: Tensor, setting: BitsSetting) -> Quantized:
        """Each group's range by the share of it that loses least of the group's part of the output."""
        blocks, least = _blocks(gram, (weight.shape[0], weight.shape[1]), setting.group), torch.tensor(torch.inf)
        whole = groups_of(weight, setting.group).abs().amax(-1)  # (grid rows, groups)
        kept = whole
        for step in range(int(SHRINK * self.steps)):
            limit = whole * (1 - step / self.steps)
            error = weight - rounded(_within(weight, limit, setting.group), setting).dense()
            lost = _lost_by_group(error, blocks, setting.group)
            kept, least = torch.where(lost < least, limit, kept), torch.minimum(lost, least)
        return rounded(_within(weight, kept, setting.group), setting)


def _columns(size: Tensor, alpha: float) -> Tensor:
    """1/s (in) as float16 holds it; the largest and the smallest lie as far from one, as the authors have it."""
    mean = float(size.mean()) or 1.0
    scale = (size / mean).clamp_min(LEAST).pow(alpha)
    return ((scale.max() * scale.min()).sqrt() / scale).half().float()


def _lost(error: Tensor, gram: Tensor) -> float:
    """‖error · X‖² a token."""
    return float(((error @ gram) * error).sum())


def _within(weight: Tensor, limit: Tensor, group: Group) -> Tensor:
    """The weight, no number of a group (grid rows, groups) beyond its limit."""
    edge = over_group(limit.expand(len(weight), -1), weight.shape, group)
    return by_group(weight, group).clamp(-edge, edge).view(weight.shape)


def _blocks(gram: Tensor, shape: tuple[int, int], group: Group) -> Tensor:
    """The Gram matrix of every group's own inputs, (groups, columns, columns); a ragged last one is filled up."""
    columns = group_columns(shape, group)
    ragged = -shape[1] % columns
    tiles = pad(gram, (0, ragged, 0, ragged)).unflatten(0, (-1, columns)).unflatten(2, (-1, columns))
    return tiles.diagonal(dim1=0, dim2=2).movedim(-1, 0)


def _lost_by_group(error: Tensor, blocks: Tensor, group: Group) -> Tensor:
    """‖error · X‖² of every group by itself, (grid rows, groups)."""
    parts = groups_of(error, None if group == PER_TENSOR else group).movedim(1, 0)  # (groups, rows, columns)
    lost = ((parts @ blocks) * parts).sum(-1).T
    return lost.sum().view(1, 1) if group == PER_TENSOR else lost
