"""Round to nearest on a uniform grid (Jacob et al., 2018, equation 1)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from reparam_core.methods.base import MatrixMethod, Prepared
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf, Quantized
from reparam_core.parametrizations.quantized import PER_TENSOR, by_group, group_columns, over_group, row_pieces
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
    columns = group_columns((weight.shape[0], weight.shape[1]), setting.group)
    ragged = -weight.shape[1] % columns  # filled up with zeros, which the extremes include anyway
    grouped = (pad(weight, (0, ragged)) if ragged else weight).unflatten(1, (-1, columns))
    low, high = grouped.amin(-1), grouped.amax(-1)  # apart they take half as long as aminmax
    if setting.group == PER_TENSOR:
        low, high = low.amin(0, keepdim=True), high.amax(0, keepdim=True)
    return low.float().clamp_max_(0), high.float().clamp_min_(0)


def _codes(weight: Tensor, scale: Tensor, zero: Tensor | None, setting: BitsSetting) -> Tensor:
    """The nearest grid point of every number, uint8 (out, in).

    Single passes: torch's addcmul takes three times as long as a product and a sum, float to uint8 twice as long as
    over int32.
    """
    offset = torch.full_like(scale, 2 ** (setting.bits - 1)) if zero is None else zero.float()
    inverse, offset = (one.expand(weight.shape[0], -1) for one in (scale.reciprocal(), offset))
    lowest = 1 if zero is None else 0  # a symmetric grid leaves its odd end unused
    codes = torch.empty(weight.shape, dtype=torch.uint8)
    for rows in row_pieces((weight.shape[0], weight.shape[1])):
        shape, piece = weight[rows].shape, by_group(weight[rows].float(), setting.group)
        q = piece * over_group(inverse[rows], shape, setting.group)
        q.add_(over_group(offset[rows], shape, setting.group)).round_().clamp_(lowest, 2**setting.bits - 1)
        codes[rows] = q.view(shape).to(torch.int32)
    return codes
