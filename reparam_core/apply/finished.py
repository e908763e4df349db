"""Settings whose methods search or solve: kept as packed forms, part by part as they are made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from reparam_core.parametrizations import Parametrization, unpack
from reparam_core.parametrizations.base import part
from reparam_core.store import key, store

SPECS = "specs"


@dataclass(frozen=True)
class Finished:
    """What is made of one setting already: the whole is its parts, so that what is broken off goes on from there."""

    name: str | None  # of the setting; nothing is kept of one that has none

    def keep(self, forms: Mapping[str, Parametrization]) -> None:
        """Into the store, as the part that these matrices are."""
        if self.name is None:
            return
        packed = {role: form.pack() for role, form in forms.items()}
        specs = json.dumps({role: spec for role, (spec, _) in packed.items()}).encode()
        tensors = {
            f"{role}.{tensor}": value for role, (_, values) in packed.items() for tensor, value in values.items()
        }
        whole = tensors | {SPECS: torch.frombuffer(bytearray(specs), dtype=torch.uint8)}
        store().save_tensors(_name(self.name, forms), whole)

    def kept(self, parts: Iterable[Iterable[str]]) -> dict[str, Parametrization]:
        """The forms of those of these parts that the store has."""
        if self.name is None:
            return {}
        found = [store().tensors(_name(self.name, roles)) for roles in parts]
        return {role: form for tensors in found if tensors is not None for role, form in _unpacked(tensors).items()}


def _name(setting: str, roles: Iterable[str]) -> str:
    return key(forms=setting, roles=sorted(roles))


def _unpacked(tensors: dict[str, torch.Tensor]) -> dict[str, Parametrization]:
    specs = json.loads(tensors[SPECS].numpy().tobytes())
    return {role: unpack(spec, part(tensors, role)) for role, spec in specs.items()}
