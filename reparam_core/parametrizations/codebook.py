"""W as small integers that point into a table, with a scale a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from torch import Tensor

from reparam_core.parametrizations.base import Layout, Parametrization, Spec, nested, nested_layout, part, unpack
from reparam_core.parametrizations.coded import Coded
from reparam_core.parametrizations.quantized import Group, by_group, grid_shape, over_group, row_pieces


class Codebook(Coded):
    """W ≈ table[codes] · scale; table (1 or out, levels).

    `scale` is a form of shape (1, groups of the whole matrix in row order): dense, or quantized itself (double
    quantization); None where the table's own numbers are the weights.
    """

    form = "lookup_table"
    file_note = "a table of values, and a scale a group"

    def __init__(self, codes: Tensor, table: Tensor, scale: Parametrization | None, group: Group) -> None:
        super().__init__()
        self.codes, self.table, self.scale, self.group = codes, table, scale, group
        self.shape = (codes.shape[0], codes.shape[1])

    @property
    def levels(self) -> int:
        return self.table.shape[1]

    def dense(self) -> Tensor:
        whole, table = torch.empty(self.shape), self.table.float().expand(self.shape[0], -1).numpy()
        scale = None if self.scale is None else self.scale.dense().view(grid_shape(self.shape, self.group))
        scale = None if scale is None else scale.expand(self.shape[0], -1)
        for rows in row_pieces(self.shape):
            codes, piece = self.codes[rows].numpy(), whole[rows]
            if len(self.table) == 1:
                np.take(table[0], codes, out=piece.numpy(), mode="clip")
            else:
                piece.numpy()[:] = np.take_along_axis(table[rows], codes, 1)
            if scale is not None:
                by_group(piece, self.group).mul_(over_group(scale[rows], piece.shape, self.group))
        return whole

    @property
    def grid_tensors(self) -> dict[str, Callable[[], Tensor]]:
        scale = {} if self.scale is None else nested("scale", self.scale)
        return {"table": lambda: self.table.clone()} | scale  # a file takes no tensor that several share

    @property
    def grid_layout(self) -> Layout:
        scale = {} if self.scale is None else nested_layout("scale", self.scale)
        return {"table": (self.table.dtype, tuple(self.table.shape))} | scale

    def spec(self) -> Spec:
        scale = None if self.scale is None else self.scale.spec()
        return {
            "form": self.form,
            "shape": list(self.shape),
            "levels": self.levels,
            "group": self.group,
            "scale": scale,
        }

    @classmethod
    def from_codes(cls, spec: Spec, tensors: dict[str, Tensor], codes: Tensor) -> Self:
        scale = None if spec["scale"] is None else unpack(spec["scale"], part(tensors, "scale"))
        return cls(codes.view(spec["shape"][0], spec["shape"][1]), tensors["table"], scale, spec["group"])
