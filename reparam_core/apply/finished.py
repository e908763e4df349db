"""Settings whose methods search or solve: kept as packed forms once they are made."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch

from reparam_core.parametrizations import Parametrization, unpack
from reparam_core.parametrizations.base import part
from reparam_core.store import store

SPECS = "specs"


def keep(name: str, forms: Mapping[str, Parametrization]) -> None:
    """Into the store under that key."""
    packed = {role: form.pack() for role, form in forms.items()}
    specs = json.dumps({role: spec for role, (spec, _) in packed.items()}).encode()
    tensors = {f"{role}.{tensor}": value for role, (_, values) in packed.items() for tensor, value in values.items()}
    store().save_tensors(name, tensors | {SPECS: torch.frombuffer(bytearray(specs), dtype=torch.uint8)})


def kept(name: str) -> dict[str, Parametrization] | None:
    """From the store; None where it was not made yet."""
    found = store().tensors(name)
    if found is None:
        return None
    specs = json.loads(found[SPECS].numpy().tobytes())
    return {role: unpack(spec, part(found, role)) for role, spec in specs.items()}
