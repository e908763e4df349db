"""One bit a number (XNOR-Net, Rastegari et al., 2016, equation 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.methods.base import MatrixMethod, Prepared, shape_of
from reparam_core.methods.grids import numbers_left
from reparam_core.methods.settings import BitsSetting
from reparam_core.methods.tables import scales
from reparam_core.methods.worked import coded
from reparam_core.parametrizations import Codebook, Leaf
from reparam_core.registry import register

TABLE = torch.tensor([-1.0, 1.0])


@register
@dataclass(frozen=True)
class Binary(MatrixMethod):
    """min ‖W − s·B‖², B ∈ {−1, 1}: the signs, and s the mean |w| of what is left of the group; 0 where nothing is."""

    name: ClassVar[str] = "binary"
    axis: ClassVar[str] = "bits"
    summary: ClassVar[str] = "keeps the sign alone"
    formula: ClassVar[str] = r"W'=s\,\mathrm{sign}(W),\quad s=\overline{|W|}"
    caches: ClassVar[bool] = False
    widths: ClassVar[tuple[int, ...]] = (1,)

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def worked(self, leaves: Mapping[str, Leaf], setting: BitsSetting) -> str:
        (leaf,) = leaves.values()
        return coded(shape_of(leaf), len(TABLE), setting.group, "scales")

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Codebook:
        scale = numbers_left(leaf, setting.group).abs().nanmean(-1).nan_to_num(0.0)
        return Codebook((leaf.weight >= 0).to(torch.uint8), TABLE[None], scales(scale, False), setting.group)
