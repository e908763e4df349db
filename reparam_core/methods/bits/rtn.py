"""Round to nearest on a uniform grid (Jacob et al., 2018, equation 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import MatrixMethod, Prepared
from reparam_core.methods.grids import rounded
from reparam_core.methods.settings import UNROUNDED, BitsSetting
from reparam_core.parametrizations import Leaf, Quantized, Scaled
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class RTN(MatrixMethod):
    """q = round(w / s) + z with s = (max − min) / (2^bits − 1); symmetric: s = max|w| / (2^(bits−1) − 1).

    The extremes of a group always include zero, so that pruned numbers stay zero. With `input_bits` below 16 the inputs
    are rounded too, each token on a symmetric grid of its own as it comes (dynamic quantization).
    """

    name: ClassVar[str] = "rtn"
    axis: ClassVar[str] = "bits"
    symmetric: ClassVar[bool] = True
    summary: ClassVar[str] = "rounds to the nearest grid point"
    formula: ClassVar[str] = (
        r"W'=s\,(q-z)"
        r",\\ q=\mathrm{clip}\big(\lfloor W/s\rceil+z\big),\\ s=\tfrac{\max W-\min W}{2^b-1}"
    )
    caches: ClassVar[bool] = False

    input_bits: Annotated[int, Field(ge=2, le=UNROUNDED)] = UNROUNDED

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def worked(self, leaves: Mapping[str, Leaf], setting: BitsSetting) -> str:
        inputs = "" if self.input_bits == UNROUNDED else f"; inputs in {self.input_bits} bits"
        return super().worked(leaves, setting) + inputs

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Quantized | Scaled:
        found = rounded(leaf.weight, setting)
        if self.input_bits == UNROUNDED:
            return found
        return Scaled(found, torch.ones(found.shape[1], dtype=torch.float16), self.input_bits)
