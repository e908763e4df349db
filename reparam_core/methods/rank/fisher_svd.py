"""Fisher-weighted SVD (FWSVD, Hsu et al., 2022, section 4)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.base import CalibratedMethod, Prepared
from reparam_core.methods.factors import cut, factored
from reparam_core.methods.settings import RankSetting
from reparam_core.parametrizations import Leaf, LowRank, Statistics
from reparam_core.registry import register

LEAST = 1e-4  # of the root of the mean row: a row that no gradient reaches keeps that much of a say


@register
@dataclass(frozen=True)
class FisherSVD(CalibratedMethod):
    """min ‖D(W − UVᵀ)‖_F with D = diag(√f), f_i = Σ_j (∂loss/∂W_ij)²: SVD of D·W cut at r, then D⁻¹·.

    A row is an output. The squared gradients are those of the untouched model, added up over the calibration's sequences.
    """

    name: ClassVar[str] = "fisher-svd"
    axis: ClassVar[str] = "rank"
    singular_values: ClassVar[bool] = True
    summary: ClassVar[str] = "favours rows that the loss feels"
    formula: ClassVar[str] = (
        r"DW=A\Sigma B^\top,\quad W'=D^{-1}A_r\Sigma_rB_r^\top,"
        r"\\ D=\mathrm{diag}(\sqrt{f}),\quad f_i=\sum_j\Big(\frac{\partial\mathcal L}{\partial W_{ij}}\Big)^2"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    def prepare_matrix(self, weight: Tensor, statistics: Statistics) -> Prepared:
        root = _of_rows(statistics, len(weight)).double().sqrt()
        scale = root.clamp_min(LEAST * float(root.square().mean().sqrt()) or 1.0)[:, None]
        a, sigma, b = torch.linalg.svd(weight.double() * scale, full_matrices=False)
        return factored(a / scale, sigma, b)

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: RankSetting) -> LowRank:
        return cut(prepared, setting)


def _of_rows(statistics: Statistics, rows: int) -> Tensor:
    """Each row's information. Raises ReparamError where no gradient of theirs is known, or where one is not finite."""
    if statistics.fisher is None or len(statistics.fisher) != rows:
        raise ReparamError("fisher-svd needs gradients, and they are known of the untouched model's own matrices alone.",
                           "Take it on a model that is not compressed yet.")  # fmt: skip
    if not torch.isfinite(statistics.fisher).all():
        raise ReparamError("The gradients over the calibration text are not finite.", "Take another text.")
    return statistics.fisher
