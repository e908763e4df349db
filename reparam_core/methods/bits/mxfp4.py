"""Microscaling 4-bit floats (OCP Microscaling Formats specification 1.0, 2023: E2M1 under an E8M0 scale)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.base import MatrixMethod, Prepared, shape_of
from reparam_core.methods.grids import groups_of
from reparam_core.methods.settings import BitsSetting
from reparam_core.methods.tables import looked_up
from reparam_core.methods.worked import coded
from reparam_core.parametrizations import Codebook, Dense, Leaf
from reparam_core.registry import register

POSITIVE = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # what two bits of exponent and one of mantissa can say
TABLE = torch.tensor([*(-one for one in reversed(POSITIVE)), 0.0, *POSITIVE])
GROUP = 32  # numbers under one scale, by the specification
LARGEST_EXPONENT = 2  # of an element


@register
@dataclass(frozen=True)
class MXFP4(MatrixMethod):
    """w = 2^e · f with f among ±{0, ½, 1, 1½, 2, 3, 4, 6} and e = ⌊log₂ max|w|⌋ − 2 of every 32 numbers; what is above is 6."""

    name: ClassVar[str] = "mxfp4"
    axis: ClassVar[str] = "bits"
    summary: ClassVar[str] = "rounds to floats of four bits"
    formula: ClassVar[str] = (
        r"W'=2^{e}f_q,\quad e=\lfloor\log_2\max|W|\rfloor-2,\quad f_q\in\pm\{0,\tfrac12,1,\tfrac32,2,3,4,6\}"
    )
    caches: ClassVar[bool] = False
    widths: ClassVar[tuple[int, ...]] = (4,)
    groups: ClassVar[tuple[int | str | None, ...] | None] = (GROUP,)

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def refuse(self, setting: BitsSetting, shape: tuple[int, int]) -> None:
        if setting.group not in (None, GROUP):
            raise ReparamError(f"mxfp4 has one scale for every {GROUP} numbers, not for {setting.group}.",
                               f"Write mxfp4:4g{GROUP}.")  # fmt: skip
        super().refuse(setting, shape)

    def worked(self, leaves: Mapping[str, Leaf], setting: BitsSetting) -> str:
        (leaf,) = leaves.values()
        return coded(shape_of(leaf), len(TABLE), GROUP, "powers of two")

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Codebook:
        largest = groups_of(leaf.weight, GROUP).abs().amax(-1).float().clamp_min(2.0**-100)
        exponent = largest.log2().floor() - LARGEST_EXPONENT
        scale = Dense(exponent.exp2().reshape(1, -1).to(torch.float8_e8m0fnu))
        return looked_up(leaf.weight, TABLE, scale, GROUP)
