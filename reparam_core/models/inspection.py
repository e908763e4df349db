"""What a model is made of."""

from __future__ import annotations

from typing import Any

from reparam_core.models.model import Model
from reparam_core.models.packed import packed_bytes
from reparam_core.parametrizations.base import dtype_name


def inspect(model: Model) -> dict[str, Any]:
    """The model's matrices by role, as the command line prints them."""
    return {
        "model": model.name,
        "architecture": model.architecture,
        "parameters": model.parameters,
        "bytes_base": packed_bytes(model, {}, model.storage),
        "tied": [[one.module, *one.tied] for one in model.matrices.values() if one.tied],
        "matrices": [
            {
                "role": role,
                "module": one.module,
                "shape": list(one.shape),
                "parameters": one.parameters,
                "dtype": dtype_name(model.storage),
                "bytes": model.form(role).stored(model.storage).nbytes,
                "compressed_by_default": one.compressed_by_default,
            }
            for role, one in model.matrices.items()
        ],
    }
