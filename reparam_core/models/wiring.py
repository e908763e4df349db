"""How the blocks of decoders with RMSNorm read from the residual stream and write to it, as data."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from reparam_core.errors import ReparamError
from reparam_core.models.model import Model, replace_module

ATTENTION, MLP = ("attention.q", "attention.k", "attention.v"), ("mlp.gate", "mlp.up")
BEHIND = "linear_behind"  # of a configuration: the norms behind which a matrix stands


@dataclass(frozen=True)
class Family:
    """What an architecture calls its norms, and how they multiply."""

    norms: Mapping[str, tuple[str, ...]]  # norm of a block → what reads its answer
    inner: bool = False  # do norms stand between what writes and the stream?
    shift: float = 0.0  # a norm's gain is this plus its weight


PLAIN = {"input_layernorm": ATTENTION, "post_attention_layernorm": MLP}
SANDWICHED = {"input_layernorm": ATTENTION, "pre_feedforward_layernorm": MLP}
FAMILIES = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), Family(PLAIN)),
    "gemma": Family(PLAIN, shift=1.0),
    **dict.fromkeys(("gemma2", "gemma3_text"), Family(SANDWICHED, inner=True, shift=1.0)),
}


@dataclass(frozen=True)
class Wiring:
    """The residual stream of a model: norms by module, matrices by role."""

    family: Family
    norms: Mapping[str, tuple[str, ...]]  # module → roles of what reads it; none where that is a tied head
    writers: tuple[str, ...]
    values: tuple[tuple[str, str], ...]  # v and o of every block
    gated: tuple[tuple[str, str], ...]  # up and down of every block


def wiring(model: Model) -> Wiring:
    """Raises ReparamError where a rewrite could not keep the model's function, or where its matrices are compressed."""
    family = FAMILIES.get(model.architecture)
    if family is None:
        raise ReparamError(f"{model.name} is {model.architecture}: a rewrite keeps the function of decoders with RMSNorm alone.",
                           f"Known: {', '.join(FAMILIES)}.")  # fmt: skip
    tied = bool(model.matrices["embedding"].tied)
    if not tied and "head" not in model.matrices:
        raise ReparamError(
            f"{model.name} has no head: what it answers is the residual stream itself.", "Leave transform out."
        )
    compressed = next((role for role, form in model.packed.items() if form.form != "dense"), None)
    if compressed:
        raise ReparamError(f"{compressed} is {model.packed[compressed].form.replace('_', ' ')} already: a rewrite would undo that.",
                           "Start from the model that it was made of.")  # fmt: skip
    layers = [f"layers.{index}" for index in range(model.layers)]
    blocks = {layer: model.matrices[f"{layer}.attention.q"].module.rsplit(".", 2)[0] for layer in layers}
    norms = {f"{path}.{norm}": tuple(f"{layer}.{one}" for one in readers)
             for layer, path in blocks.items() for norm, readers in family.norms.items()}  # fmt: skip
    last = _last_norm(next(iter(blocks.values())))
    return Wiring(
        family, norms | {last: () if tied else ("head",)},
        tuple(f"{layer}.{one}" for layer in layers for one in ("attention.o", "mlp.down")),
        tuple((f"{layer}.attention.v", f"{layer}.attention.o") for layer in layers),
        tuple((f"{layer}.mlp.up", f"{layer}.mlp.down") for layer in layers),
    )  # fmt: skip


def _last_norm(block: str) -> str:
    """`model.norm` beside `model.layers.0`."""
    stack = block.rsplit(".", 2)[0] if block.count(".") > 1 else ""
    return f"{stack}.norm" if stack else "norm"


def norm_of(module: nn.Module, path: str) -> nn.Module:
    """The norm itself, whether a matrix stands behind it or not."""
    found = module.get_submodule(path)
    return found[0] if isinstance(found, nn.Sequential) else found


def map_of(module: nn.Module, path: str) -> nn.Module | None:
    """The matrix behind a norm, where there is one."""
    found = module.get_submodule(path)
    return found[1] if isinstance(found, nn.Sequential) else None


def put_behind(module: nn.Module, path: str, width: int) -> nn.Module:
    """The matrix (width, width) behind that norm, put there where none is; the configuration says so to whoever loads it."""
    found = map_of(module, path)
    if found is None:
        found = nn.Linear(width, width, bias=False).requires_grad_(False)
        replace_module(module, path, nn.Sequential(OrderedDict(norm=module.get_submodule(path), rotation=found)))
        config: Any = module.config
        setattr(config, BEHIND, sorted({*getattr(config, BEHIND, ()), path}))
    return found


def rewired(module: nn.Module) -> nn.Module:
    """An empty model with the matrices that its configuration names behind norms."""
    config: Any = module.config
    for path in getattr(config, BEHIND, ()):
        put_behind(module, path, config.hidden_size)
    return module
