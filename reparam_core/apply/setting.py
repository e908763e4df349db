"""A model with a recipe applied."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import nn

from reparam_core.data import Sequences
from reparam_core.models import Model, packed_bytes
from reparam_core.parametrizations import Parametrization
from reparam_core.recipes import Recipe


@dataclass
class Setting:
    """A model with a recipe applied: what every measure takes."""

    model: Model
    recipe: Recipe
    forms: dict[str, Parametrization]  # the changed matrices only
    module: nn.Module
    dtype: torch.dtype
    seconds: dict[str, float] = field(default_factory=lambda: {"prepare": 0.0, "apply": 0.0})
    calibration: Sequences | None = None  # what its data-aware steps read
    rewritten: Model | None = None  # what the recipe's transforms made of the model, where it has any

    @property
    def start(self) -> Model:
        """The model that the rules start from, whose matrices the forms stand for."""
        return self.rewritten or self.model

    @property
    def storage(self) -> torch.dtype:
        """The dtype of every float that the file keeps."""
        return self.recipe.storage_dtype(self.model.storage)

    @cached_property
    def bytes(self) -> int:
        """Size of the `*.safetensors` that `compress --format packed` writes."""
        return packed_bytes(self.start, self.forms, self.storage)

    @cached_property
    def bytes_blocks(self) -> int:
        """Bytes of the matrices that the default rule covers."""
        return sum(self.form(role).nbytes for role, one in self.start.matrices.items() if one.compressed_by_default)

    @cached_property
    def parameters(self) -> int:
        """Numbers kept in the whole model."""
        changed = sum(form.parameters_kept - self.start.form(role).parameters_kept for role, form in self.forms.items())
        return self.start.parameters + changed

    def form(self, role: str) -> Parametrization:
        """The matrix in its form here, as stored."""
        return self.forms[role] if role in self.forms else self.start.form(role).stored(self.storage)


def base(model: Model, dtype: torch.dtype = torch.float32) -> Setting:
    """The untouched model as a Setting, the same one each time: nothing is copied, and its sizes are found once."""
    name = ("base", dtype)
    if name not in model.known:
        model.known[name] = Setting(model, Recipe.parse("base"), {}, model.module_in(dtype), dtype)
    found: Setting = model.known[name]
    return found
