"""Round to nearest on a uniform grid (Jacob et al., 2018, equation 1)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from reparam_core.methods.base import MatrixMethod, Prepared
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf, Quantized
from reparam_core.parametrizations.quantized import grid_shape, group_columns, per_group, spread
from reparam_core.registry import register

SMALLEST_SCALE = 2.0**-24  # float16's smallest number: a scale of zero would divide by it


@register
@dataclass(frozen=True)
class RTN(MatrixMethod):
    """q = round(w / s) + z with s = (max − min) / (2^bits − 1); symmetric: s = max|w| / (2^(bits−1) − 1).

    The extremes of a group always include zero.
    """

    name: ClassVar[str] = "rtn"
    axis: ClassVar[str] = "bits"
    summary: ClassVar[str] = "rounds to the nearest grid point"
    caches: ClassVar[bool] = False

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Quantized:
        low, high = _extremes(leaf.weight, setting)  # (rows, groups); zero lies between, so pruned numbers stay zero
        if setting.symmetric:
            scale = torch.maximum(-low, high) / (2 ** (setting.bits - 1) - 1)
            scale = scale.clamp_min(SMALLEST_SCALE).half()
            zero = None
        else:
            scale = ((high - low) / (2**setting.bits - 1)).clamp_min(SMALLEST_SCALE).half()
            zero = (-low / scale.float()).round_().clamp_(0, 2**setting.bits - 1).to(torch.uint8)
        codes = _codes(leaf.weight, scale.float(), zero, setting)
        return Quantized(codes, scale, zero, setting.bits, setting.group)


def _extremes(weight: Tensor, setting: BitsSetting) -> tuple[Tensor, Tensor]:
    """Smallest and largest number of every group and zero, each (rows, groups), float32."""
    grouped = per_group(weight, setting.group)
    if grouped is None:  # a ragged last group is filled up with zeros, which the extremes include anyway
        shape = (weight.shape[0], weight.shape[1])
        columns = group_columns(shape, setting.group)
        padded = pad(weight, (0, grid_shape(shape, setting.group)[1] * columns - shape[1]))
        grouped = padded.view(shape[0], -1, columns)
    low, high = grouped.amin(-1), grouped.amax(-1)  # apart they take half as long as aminmax
    return low.float().clamp_max_(0), high.float().clamp_min_(0)


def _codes(weight: Tensor, scale: Tensor, zero: Tensor | None, setting: BitsSetting) -> Tensor:
    """The nearest grid point of every number, uint8 (out, in)."""
    offset = torch.full_like(scale, 2 ** (setting.bits - 1)) if zero is None else zero.float()
    lowest = 1 if zero is None else 0  # a symmetric grid leaves its odd end unused
    grouped = per_group(weight, setting.group)
    if grouped is not None:
        q = torch.addcmul(offset.unsqueeze(-1), grouped.float(), scale.reciprocal().unsqueeze(-1)).round_()
    else:
        shape = (weight.shape[0], weight.shape[1])
        q = (weight.float() / spread(scale, shape, setting.group)).round_().add_(spread(offset, shape, setting.group))
    return q.clamp_(lowest, 2**setting.bits - 1).to(torch.uint8).view(weight.shape)
