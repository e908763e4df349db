"""What a setting changed, matrix by matrix, and what theory claims of it beside what file, memory and clock say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from reparam_core.apply import Setting, base, cache_bytes
from reparam_core.measure.spectra import break_even
from reparam_core.parametrizations import LowRank, Parametrization


def changes(setting: Setting) -> list[dict[str, Any]]:
    """A row a changed matrix: its form, its numbers and bytes before and after, and ‖W − W′‖ / ‖W‖."""
    return [_change(setting, role) for role in setting.start.matrices if role in setting.forms]


def _change(setting: Setting, role: str) -> dict[str, Any]:
    before, after = setting.start.form(role).stored(setting.storage), setting.forms[role]
    weight = setting.start.weight(role)
    norm = float(weight.norm())
    return {
        "role": role,
        "shape": list(after.shape),
        "form": described(after),
        "parameters": after.parameters_kept,
        "parameters_base": before.parameters_kept,
        "bytes": after.nbytes,
        "bytes_base": before.nbytes,
        "relative_error": float((after.dense() - weight).norm()) / norm if norm else 0.0,
    }


def bytes_by_kind(setting: Setting) -> list[dict[str, Any]]:
    """Bytes of the file by kind of matrix, before and after: embedding, attention, MLP … and what is no matrix."""
    untouched = base(setting.model, setting.dtype)
    found: dict[str, dict[str, Any]] = {}
    for role in setting.start.matrices:
        row = found.setdefault(kind_of(role), {"bytes": 0, "bytes_base": 0})
        row["bytes"] += setting.form(role).nbytes
        row["bytes_base"] += untouched.form(role).nbytes if role in setting.model.matrices else 0
    rest = {name: one.bytes - sum(row[name] for row in found.values())
            for name, one in (("bytes", setting), ("bytes_base", untouched))}  # fmt: skip
    return [{"kind": kind, **row} for kind, row in (found | {"norms, biases, header": rest}).items()]


def kind_of(role: str) -> str:
    """`attention` of `layers.3.attention.q`; the role itself outside the blocks."""
    return role.split(".")[-2] if "layers." in role else role.split(".")[0]


def described(form: Parametrization) -> str:
    """`low_rank(quantized, quantized)`."""
    parts = [described(one) for one in form.children() if isinstance(one, Parametrization)]
    name = form.form.replace("_", " ")
    return f"{name} ({', '.join(dict.fromkeys(parts))})" if parts else name


WRITTEN_WIDE = "rounded, then computed with as floats: no kernel here reads them packed"


@dataclass(frozen=True)
class Claim:
    """A ratio to the base, and why it parts from what theory says."""

    what: str
    ratio: float
    kind: str  # theory, counted (tensor by tensor) or measured
    reason: str = ""


def claims(setting: Setting, latency: dict[str, Any] | None = None) -> list[Claim]:
    """Numbers and operations in theory, memory as counted, file and wall clock as measured. Ratios to the base."""
    untouched = base(setting.model, setting.dtype)
    forms = setting.forms.values()
    found = [
        Claim("numbers kept", setting.parameters / untouched.parameters, "theory", _above_break_even(setting)),
        Claim("multiply-adds a token", _operations(setting) / _operations(untouched), "theory"),
        Claim("file", setting.bytes / untouched.bytes, "measured", _why(one.file_notes for one in forms)),
        Claim("memory of the matrices", _resident(setting) / _resident(untouched), "counted",
              _why(one.memory_notes for one in forms)),
    ]  # fmt: skip
    kept, before = cache_bytes(setting), cache_bytes(untouched)
    if kept and before and kept != before:
        found.append(Claim("keys and values of a token", kept / before, "counted", WRITTEN_WIDE))
    for name, what in (("prefill_ms", "time to read"), ("decode_ms_per_token", "time a written token")):
        if latency and latency["setting"][name]:
            ratio = latency["setting"][name]["p50"] / latency["base"][name]["p50"]
            found.append(Claim(what, ratio, "measured", "" if not setting.forms else latency["setting"]["kernel"]))
    return found


def _operations(setting: Setting) -> int:
    """Multiply-adds of every matrix product that one token passes; an embedding is looked up, not multiplied."""
    kinds = setting.start.matrices
    return sum(setting.form(role).operations for role, one in kinds.items() if one.kind == "linear" or one.tied)


def _resident(setting: Setting) -> int:
    """Bytes of the tensors that the matrices of this setting hold in memory while it runs."""
    width = torch.empty((), dtype=setting.dtype).element_size()
    unchanged = [one.parameters * width for role, one in setting.start.matrices.items() if role not in setting.forms]
    return sum(unchanged) + sum(held_bytes(form) for form in setting.forms.values())


def held_bytes(form: Parametrization) -> int:
    """Bytes of every tensor that a form and its parts hold, shared ones once."""
    tensors = {
        (value.data_ptr(), value.nbytes)
        for part in form.modules()
        for value in vars(part).values()
        if isinstance(value, torch.Tensor)
    }
    return sum(size for _, size in tensors)


def _above_break_even(setting: Setting) -> str:
    """A rank whose factors hold more than the matrix is a loss there, whatever the rest of the model saves."""
    ranks = [part for form in setting.forms.values() for part in form.modules() if isinstance(part, LowRank)]
    above = sum(one.rank > break_even(one.shape) for one in ranks)
    return f"rank above break-even in {above} of {len(ranks)} matrices" if above else ""


def _why(notes: Iterable[set[str]]) -> str:
    """Each note once."""
    return "; ".join(sorted({note for one in notes for note in one}))
