"""How far the largest weights and inputs stand out, before a model is rewritten and after: what a rotation is for."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from torch import Tensor

from reparam_core.apply import Setting
from reparam_core.models import Model
from reparam_core.statistics import input_outliers, stands_out


def outliers(setting: Setting, inputs: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """A row a kind of matrix: max |w| / rms(w) and max |x| / rms(x), medians over layers; no inputs where none are given.

    Of the model and of what the recipe's transforms make of it, before anything is compressed.
    """
    stages = {"before": setting.model, "after": setting.start}
    read = {stage: input_outliers(model, inputs["input_ids"]) if inputs else {} for stage, model in stages.items()}
    kinds: dict[str, list[str]] = {}
    for role in setting.model.matrices:
        kinds.setdefault(_kind(role), []).append(role)
    return [{"kind": kind}
            | {f"weights_{stage}": _weights(model, roles) for stage, model in stages.items()}
            | {f"inputs_{stage}": _inputs(read[stage], roles) for stage in stages} for kind, roles in kinds.items()]  # fmt: skip


def _weights(model: Model, roles: list[str]) -> float:
    return median(stands_out(model.weight(role)) for role in roles)


def _inputs(found: Mapping[str, float], roles: list[str]) -> float | None:
    known = [found[role] for role in roles if role in found]
    return median(known) if known else None


def _kind(role: str) -> str:
    """`attention.q` of `layers.3.attention.q`; the role itself outside the blocks."""
    return ".".join(role.split(".")[-2:]) if "layers." in role else role
