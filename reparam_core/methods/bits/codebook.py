"""Weight sharing by k-means (Deep Compression, Han et al., 2016, section 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.base import MatrixMethod, Prepared, shape_of
from reparam_core.methods.settings import BitsSetting
from reparam_core.methods.tables import lloyd
from reparam_core.methods.worked import coded
from reparam_core.parametrizations import Codebook, Leaf
from reparam_core.parametrizations.quantized import PER_TENSOR, Group
from reparam_core.registry import register


@register
@dataclass(frozen=True)
class KMeans(MatrixMethod):
    """min Σ (w − c_q)² over 2^bits shared values c: k-means in one dimension, one table a matrix, or a row.

    What an earlier step pruned is in no cluster.
    """

    name: ClassVar[str] = "codebook"
    axis: ClassVar[str] = "bits"
    summary: ClassVar[str] = "rounds to the centres of clusters"
    formula: ClassVar[str] = r"W'=c_q,\quad \min_{c,q}\sum_{ij}(W_{ij}-c_{q_{ij}})^2"
    instant: ClassVar[bool] = False
    caches: ClassVar[bool] = False
    widths: ClassVar[tuple[int, ...]] = tuple(range(1, 9))
    groups: ClassVar[tuple[int | str | None, ...] | None] = (None, PER_TENSOR)

    iterations: Annotated[int, Field(ge=1)] = 30

    def prepare_matrix(self, weight: Tensor) -> Prepared:
        return {}

    def refuse(self, setting: BitsSetting, shape: tuple[int, int]) -> None:
        if isinstance(setting.group, int):
            raise ReparamError("codebook has a table for every row or for the matrix, not for a group.",
                               f"Write codebook:{setting.bits}t for the matrix, codebook:{setting.bits} for rows.")  # fmt: skip
        super().refuse(setting, shape)

    def worked(self, leaves: Mapping[str, Leaf], setting: BitsSetting) -> str:
        (leaf,) = leaves.values()
        return coded(shape_of(leaf), 2**setting.bits, setting.group, "tables")

    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: BitsSetting) -> Codebook:
        weight, levels = leaf.weight.float().contiguous(), 2**setting.bits
        rows = _sharing(leaf, setting.group)
        table = torch.stack([lloyd(one, levels, self.iterations) for one in rows]).half()
        edges = ((table[:, 1:].float() + table[:, :-1].float()) / 2).contiguous()
        places = edges.expand(len(weight), -1).contiguous() if len(rows) > 1 else edges[0]
        codes = torch.searchsorted(places, weight, out_int32=True) if len(rows) > 1 else torch.bucketize(
            weight, places, out_int32=True)  # fmt: skip
        return Codebook(codes.to(torch.uint8), table, None, setting.group)


def _sharing(leaf: Leaf, group: Group) -> list[Tensor]:
    """The numbers of each table: what an earlier step left of every row, or of the matrix; a zero where that is nothing."""
    mask = torch.ones_like(leaf.weight, dtype=torch.bool) if leaf.mask is None else leaf.mask
    parts = [(leaf.weight, mask)] if group == PER_TENSOR else zip(leaf.weight, mask, strict=True)
    return [numbers[left].float() if left.any() else torch.zeros(1) for numbers, left in parts]
