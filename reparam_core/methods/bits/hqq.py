"""Half-quadratic quantization (Badri and Shaji, 2023): a zero point that forgives outliers, without any data."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import MatrixMethod, Prepared
from reparam_core.methods.grids import groups_of, numbers_left, over, span
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf, Quantized
from reparam_core.registry import register

ROUNDED_AT = 4  # bits at which the library begins with a whole zero point


@register
@dataclass(frozen=True)
class HQQ(MatrixMethod):
    """min over z of ‖W − s(q − z)‖_p, p < 1, by half-quadratic splitting: shrink the errors, then z = mean(q − (W − E)/s).

    The scale stays that of the extremes; the zero point lies anywhere between codes. Numbers that lie close together and
    far from zero get a wider scale, lest float16 cannot hold their zero point. What an earlier step pruned has no say.
    """

    name: ClassVar[str] = "hqq"
    axis: ClassVar[str] = "bits"
    summary: ClassVar[str] = "moves the grid where outliers weigh less"
    formula: ClassVar[str] = r"\min_{z}\lVert W-s(q-z)\rVert_p^p,\\ p<1"
    instant: ClassVar[bool] = False
    caches: ClassVar[bool] = False

    norm: Annotated[float, Field(gt=0, le=1)] = 0.7  # p
    sharpness: Annotated[float, Field(gt=0)] = 10.0  # β, by how little an error is shrunk at first
    growth: Annotated[float, Field(ge=1)] = 1.01  # κ, of β from round to round
    iterations: Annotated[int, Field(ge=1)] = 20

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Quantized:
        weight, highest = leaf.weight.float(), 2**setting.bits - 1
        grouped = groups_of(weight, setting.group)
        counted = ~numbers_left(leaf, setting.group).isnan()
        low, high = (one.unsqueeze(-1) for one in span(grouped, counted))
        scale = over(low, high, highest)[0].float()
        zero = -low / scale
        zero = self._moved(grouped, counted, scale, zero.round() if setting.bits == ROUNDED_AT else zero, highest)
        zero = zero.half().float()
        codes = (grouped / scale + zero).round_().clamp_(0, highest).to(torch.int32).to(torch.uint8)
        plain = codes.reshape(weight.shape[0], -1)[:, : weight.shape[1]].contiguous()
        return Quantized(plain, scale.squeeze(-1).half(), zero.squeeze(-1).half(), setting.bits, setting.group)

    def _moved(self, w: Tensor, counted: Tensor, scale: Tensor, zero: Tensor, highest: int) -> Tensor:
        """The zero point of the least mean error, moved until that stops falling."""
        best, kept, sharpness = torch.inf, zero, self.sharpness
        for _ in range(self.iterations + 1):
            q = (w / scale + zero).round_().clamp_(0, highest)
            error = w - (q - zero) * scale
            size = error.abs()
            shrunk = error.sign() * (size - size.pow(self.norm - 1) / sharpness).clamp_min_(0)
            moved = _mean((q - (w - shrunk) / scale), counted)
            sharpness *= self.growth
            now = float(_mean(size, counted).mean())
            if now >= best:
                break
            best, kept, zero = now, zero, moved
        return kept


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Over every group's own numbers; 0 where it has none."""
    return (values * counted).sum(-1, keepdim=True) / counted.sum(-1, keepdim=True).clamp_min(1)
