"""SmoothQuant (Xiao et al., 2022, equation 4): weights and inputs rounded, after the inputs' outliers moved to the weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from reparam_core.methods.base import CalibratedMethod, Prepared
from reparam_core.methods.grids import rounded
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf, Scaled, Statistics
from reparam_core.registry import register

LEAST = 1e-4  # of the mean over the channels: one that is never used, or all zero, keeps that much of a say


@register
@dataclass(frozen=True)
class SmoothQuant(CalibratedMethod):
    """WX ≈ Q(W·diag s)·Q(diag(1/s)·X) with s_j = max|x_j|^α / max|W_:j|^(1−α): nothing is minimised, it is set by hand.

    The weights take the setting's bits and grids (`smoothquant:8s`, symmetric ones a row, are the paper's), the inputs
    `input_bits`, each token on a grid of its own as it comes. Matrices with the same inputs have an s of their own each
    and keep it; the authors share it, and fold it into the norm before.
    """

    name: ClassVar[str] = "smoothquant"
    axis: ClassVar[str] = "bits"
    symmetric: ClassVar[bool] = True
    summary: ClassVar[str] = "rounds inputs too, their outliers smoothed"
    formula: ClassVar[str] = (
        r"WX\approx Q\big(W\,\mathrm{diag}(s)\big)\,Q\big(\mathrm{diag}(s)^{-1}X\big),"
        r"\\ s_j=\frac{\max|x_j|^{\alpha}}{\max|W_{:j}|^{1-\alpha}}"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"range"})
    prepared_by: ClassVar[frozenset[str] | None] = frozenset({"alpha"})

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    input_bits: Annotated[int, Field(ge=2, le=16)] = 8

    def prepare_matrix(self, weight: Tensor, statistics: Statistics) -> Prepared:
        of_inputs, of_weights = _size(statistics.peak), _size(weight.abs().amax(0))
        scale = of_inputs.pow(self.alpha) / of_weights.pow(1 - self.alpha)
        return {"columns": ((scale.max() * scale.min()).sqrt() / scale).half()}  # a factor of all alters nothing

    def worked(self, leaves: Mapping[str, Leaf], setting: BitsSetting) -> str:
        (leaf,) = leaves.values()
        columns = leaf.weight.shape[1]
        return f"{super().worked(leaves, setting)}; s of {columns:,} columns, inputs in {self.input_bits} bits"

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Scaled:
        columns = prepared["columns"]
        return Scaled(rounded(leaf.weight.float() / columns.float(), setting), columns, self.input_bits)


def _size(largest: Tensor) -> Tensor:
    """The largest number of every channel against their mean, never zero."""
    return (largest / (float(largest.mean()) or 1.0)).clamp_min(LEAST)
