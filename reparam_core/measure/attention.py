"""Attention maps of every layer and head, and how far a setting moves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reparam_core.apply import Setting, base
from reparam_core.errors import ReparamError
from reparam_core.models.model import structural_clone

LONGEST = 256
KINDS = {"attentions": "self-attention", "encoder_attentions": "encoder self-attention",
         "decoder_attentions": "decoder self-attention", "cross_attentions": "cross-attention"}  # fmt: skip


@dataclass(frozen=True)
class Maps:
    """Attention maps (layers, heads, queries, keys) by kind, with the tokens of both axes."""

    maps: dict[str, Tensor]
    queries: dict[str, list[str]]
    keys: dict[str, list[str]]


def attention(setting: Setting, prompt: str) -> Maps:
    """The maps of a prompt. Raises ReparamError for an empty prompt or a model without tokenizer."""
    model = setting.model
    if model.tokenizer is None:
        raise ReparamError(f"{model.name} has no tokenizer.", "Choose a model with one.")
    ids = model.tokenizer(prompt, return_tensors="pt")["input_ids"][:, :LONGEST]
    if ids.shape[1] == 0:
        raise ReparamError("The prompt is empty.", "Write a sentence.")
    module = _eager(setting.module)
    source = readable(model.tokenizer, ids[0])
    with torch.inference_mode():
        if not model.config.is_encoder_decoder:
            found = module(input_ids=ids, output_attentions=True)
            return _collected(found, source, source)
        written = module.generate(input_ids=ids, max_new_tokens=48, num_beams=1, do_sample=False)
        found = module(input_ids=ids, decoder_input_ids=written, output_attentions=True)
    return _collected(found, source, readable(model.tokenizer, written[0]))


def readable(tokenizer: Any, ids: Tensor) -> list[str]:
    """Tokens as people read them."""
    return [tokenizer.decode([one]) or "∅" for one in ids.tolist()]


def entropy(maps: Tensor) -> Tensor:
    """Mean entropy over queries in bits, (layers, heads): how widely a head looks."""
    return torch.special.entr(maps.float()).sum(-1).mean(-1) / torch.log(torch.tensor(2.0))


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """Mean Jensen–Shannon divergence over queries in bits, (layers, heads): 0 the same, 1 disjoint."""
    middle = (before + after) / 2
    return (entropy(middle) - (entropy(before) + entropy(after)) / 2).clamp_min(0)


def attention_report(setting: Setting, prompt: str) -> dict[str, Any]:
    """Entropy and divergence of every head, with the maps' shapes, as the command line prints them."""
    before, after = attention(base(setting.model, setting.dtype), prompt), attention(setting, prompt)
    kinds = {}
    for kind, maps in after.maps.items():
        same = maps.shape == before.maps[kind].shape
        kinds[kind] = {
            "queries": after.queries[kind], "keys": after.keys[kind], "maps": maps.tolist(),
            "entropy_bits": entropy(maps).tolist(),
            "divergence_bits": divergence(before.maps[kind], maps).tolist() if same else None,
        }  # fmt: skip
    return {"model": setting.model.name, "recipe": setting.recipe.as_json(), "prompt": prompt, "attention": kinds}


def _eager(module: nn.Module) -> Any:
    """A clone that computes its maps openly; the fused kernels never form them."""
    clone: Any = structural_clone(module)
    clone.set_attn_implementation("eager")
    return clone


def _collected(found: Any, source: list[str], target: list[str]) -> Maps:
    maps = {kind: torch.stack([one[0] for one in found[name]]).float()
            for name, kind in KINDS.items() if found.get(name)}  # fmt: skip
    inside = {"encoder self-attention": (source, source), "cross-attention": (target, source)}
    sides = {kind: inside.get(kind, (target, target)) for kind in maps}
    return Maps(maps, {kind: side[0] for kind, side in sides.items()}, {kind: side[1] for kind, side in sides.items()})
