"""Attention maps of every layer and head, what a head looks at, and how far a setting moves it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from reparam_core.apply import Setting, base
from reparam_core.errors import ReparamError
from reparam_core.models import Model
from reparam_core.models.model import structural_clone

LONGEST = 256  # tokens that are read
ANSWER = 48  # tokens at most that an encoder–decoder writes
TILE = 64  # the longest side of a thumbnail
KINDS = {"attentions": "self-attention", "encoder_attentions": "encoder self-attention",
         "decoder_attentions": "decoder self-attention", "cross_attentions": "cross-attention"}  # fmt: skip
View = Literal["before", "after", "difference"]


@dataclass(frozen=True)
class Maps:
    """Attention maps (layers, heads, queries, keys) by kind, with the tokens of both axes."""

    maps: dict[str, Tensor]
    queries: dict[str, list[str]]
    keys: dict[str, list[str]]
    left_out: int = 0  # tokens of the prompt beyond the longest that is read
    written: Tensor | None = None  # (1, T): the answer that a decoder read
    windows: tuple[int | None, ...] = ()  # keys that a query of each layer sees at most; empty where all layers see all

    @property
    def tensors(self) -> list[Tensor]:
        """What takes memory."""
        return list(self.maps.values())

    def halved(self) -> Maps:
        """The same in float16: three digits, for keeping."""
        return replace(self, maps={kind: maps.half() for kind, maps in self.maps.items()})


@dataclass(frozen=True)
class HeadChange:
    """One kind of attention before and after: its maps, and what they say of each head (layers, heads)."""

    before: Tensor
    after: Tensor
    queries: list[str]
    keys: list[str]
    visible: Tensor  # (queries, keys)
    divergence: Tensor  # bits
    entropy: dict[str, Tensor]  # before, after; bits
    spread: dict[str, Tensor]  # before, after; the entropy's share of the widest possible
    thumbnails: dict[View, Tensor] = field(repr=False)  # (layers, heads, height, width) bytes
    windows: tuple[int | None, ...] = ()  # as in Maps

    def window(self, layer: int) -> int | None:
        """How many keys, itself the last, a query of that layer sees at most; None where it sees its whole past."""
        return self.windows[layer] if self.windows else None

    def seen(self, layer: int) -> Tensor:
        """(queries, keys): which keys a query of that layer may look at."""
        return within(self.visible, self.window(layer))

    @property
    def tensors(self) -> list[Tensor]:
        """What takes memory."""
        return [self.before, self.after, *self.thumbnails.values()]


@dataclass(frozen=True)
class Heads:
    """The heads of one kind of attention in the letters of its formula."""

    count: int
    key_value_count: int  # fewer than heads where several share their keys and values
    width: int  # d_k
    scaling: float  # what QKᵀ is multiplied by
    rotary: bool  # are Q and K turned by their positions?
    position_bias: bool  # is a learned bias of the distance added?

    @property
    def scaled(self) -> bool:
        """Is QKᵀ divided by √d_k? T5 leaves it out."""
        return math.isclose(self.scaling, self.width**-0.5, rel_tol=1e-3)


def attention(setting: Setting, prompt: str, written: Tensor | None = None) -> Maps:
    """The maps of a prompt; an encoder–decoder reads the answer `written`, or else what it writes itself.

    Raises ReparamError for an empty prompt, or a model without tokenizer or attention.
    """
    model, module = setting.model, _eager(setting)
    ids, left_out = _read(model, prompt)
    source = readable(model.tokenizer, ids[0])
    with torch.inference_mode():
        if model.config.is_encoder_decoder:
            written = _answer(module, ids) if written is None else written
            found = module(input_ids=ids, decoder_input_ids=written, output_attentions=True)
        else:
            found = module(input_ids=ids, output_attentions=True)
    target = source if written is None else readable(model.tokenizer, written[0])
    maps = {kind: _stacked(found[name]) for name, kind in KINDS.items() if found.get(name)}
    if not maps:
        raise ReparamError(f"{model.name} has no attention maps to show.", "Choose a transformer.")
    sides = {kind: _sides(kind, source, target) for kind in maps}
    queries, keys = ({kind: side[axis] for kind, side in sides.items()} for axis in (0, 1))
    return Maps(maps, queries, keys, left_out, written, windows_of(model))


def _read(model: Model, prompt: str) -> tuple[Tensor, int]:
    """Token ids (1, T) as the model's tokenizer gives them, and how many were left out."""
    if model.tokenizer is None:
        raise ReparamError(f"{model.name} has no tokenizer.", "Choose a model with one.")
    if not prompt.strip():
        raise ReparamError("The prompt is empty.", "Write a sentence.")
    longest = min(LONGEST, getattr(model.config, "max_position_embeddings", None) or LONGEST)
    whole = len(model.tokenizer(prompt, verbose=False)["input_ids"])
    ids = model.tokenizer(prompt, return_tensors="pt", truncation=True, max_length=longest)["input_ids"]
    return ids, whole - ids.shape[1]


def _eager(setting: Setting) -> Any:
    """A clone that computes its maps openly; the fused kernels never form them."""
    clone: Any = structural_clone(setting.module)
    try:
        clone.set_attn_implementation("eager")
    except (ValueError, AttributeError) as error:
        name = setting.model.name
        raise ReparamError(f"{name} does not show its attention: {error}.", "Choose another model.") from error
    return clone


def _answer(module: Any, ids: Tensor) -> Tensor:
    """What an encoder–decoder reads while it writes its likeliest answer: all of it but the end."""
    written: Tensor = module.generate(input_ids=ids, max_new_tokens=ANSWER, num_beams=1, do_sample=False)
    return written[:, :-1] if written.shape[1] > 1 else written


def _stacked(layers: tuple[Tensor, ...]) -> Tensor:
    """(layers, heads, queries, keys) in float32, each row a distribution also where it was rounded to 16 bits."""
    maps = torch.stack([one[0] for one in layers]).float()
    return maps / maps.sum(-1, keepdim=True)


def _sides(kind: str, source: list[str], target: list[str]) -> tuple[list[str], list[str]]:
    return {"encoder self-attention": (source, source), "cross-attention": (target, source)}.get(kind, (target, target))


def readable(tokenizer: Any, ids: Tensor) -> list[str]:
    """Tokens as people read them."""
    return [tokenizer.decode([one]) or "∅" for one in ids.tolist()]


def entropy(maps: Tensor) -> Tensor:
    """Mean entropy over queries in bits, (layers, heads): how widely a head looks."""
    return entropies(maps).mean(-1)


def entropies(maps: Tensor) -> Tensor:
    """Entropy of every query in bits, (layers, heads, queries); layer by layer, since long prompts fill the memory."""
    return torch.stack([torch.special.entr(layer.float()).sum(-1) for layer in maps]) / math.log(2)


def spread(bits: Tensor, visible: Tensor) -> Tensor:
    """Entropies (layers, heads, queries) as a mean share of the widest possible, log₂ of the keys that a query sees.

    Queries that see a single key are left out: they have no choice.
    """
    seen = visible.sum(-1)
    choosing = seen > 1
    if not choosing.any():
        return torch.zeros(bits.shape[:-1])
    return (bits[..., choosing] / seen[choosing].log2()).mean(-1)


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """Mean Jensen–Shannon divergence over queries in bits, (layers, heads): 0 the same, 1 disjoint."""
    return _divergence(before, after, entropy(before), entropy(after))


def _divergence(before: Tensor, after: Tensor, bits_before: Tensor, bits_after: Tensor) -> Tensor:
    pairs = zip(before, after, strict=True)
    middle = torch.cat([entropy(((one.float() + other.float()) / 2)[None]) for one, other in pairs])
    return (middle - (bits_before + bits_after) / 2).clamp(0, 1)


def visible_keys(*maps: Tensor) -> Tensor:
    """(queries, keys): which keys a query may look at: its past where no head ever looks ahead, else every key."""
    queries, keys = maps[0].shape[-2:]
    every = torch.ones(queries, keys, dtype=torch.bool)
    ahead = queries != keys or queries == 1 or any(bool(one.triu(1).any()) for one in maps)
    return every if ahead else every.tril()


def windows_of(model: Model) -> tuple[int | None, ...]:
    """The sliding window of each layer, None where a layer sees its whole past; empty where no layer has one."""
    config, width = model.config, getattr(model.config, "sliding_window", None)
    if width is None:
        return ()
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return tuple(int(width) if kind == "sliding_attention" else None for kind in kinds)


def within(visible: Tensor, window: int | None) -> Tensor:
    """What is left of a causal mask (queries, keys) where a query sees no more than its last `window` keys."""
    return visible if window is None else visible.triu(1 - window)


def is_causal(visible: Tensor) -> bool:
    """Does every query see its past and itself only?"""
    return not bool(visible.all())


def compare(before: Maps, after: Maps) -> dict[str, HeadChange]:
    """Every kind of attention before and after; both must have read the same tokens."""
    return {kind: _change(kind, before, after) for kind in after.maps}


def _change(kind: str, before: Maps, after: Maps) -> HeadChange:
    first, second = before.maps[kind], after.maps[kind]
    visible = visible_keys(first, second)
    bits = {"before": entropies(first), "after": entropies(second)}
    means = {side: one.mean(-1) for side, one in bits.items()}
    windows = after.windows if kind == KINDS["attentions"] and is_causal(visible) else ()
    seen = [within(visible, one) for one in windows or [None] * len(first)]
    return HeadChange(
        first, second, after.queries[kind], after.keys[kind], visible,
        divergence=_divergence(first, second, means["before"], means["after"]), entropy=means,
        spread={side: torch.stack([spread(layer, mask) for layer, mask in zip(one, seen, strict=True)])
                for side, one in bits.items()},
        thumbnails=thumbnails(first, second, seen), windows=windows,
    )  # fmt: skip


def thumbnails(before: Tensor, after: Tensor, visible: Sequence[Tensor]) -> dict[View, Tensor]:
    """Small pictures (layers, heads, height, width) of 8 bits on a square-root scale; 0 is what no query of the layer sees.

    Weights are 1 to 255 up to the head's limit; differences 1 to 255 around 128 up to the largest of all heads, so that
    a head that hardly moved looks so.
    """
    first, second = _pooled(before), _pooled(after)
    seen = _pooled(torch.stack([one[None] for one in visible])) > 0  # (layers, 1, height, width)
    both = zip(torch.stack([first, second], 2), seen[:, 0], strict=True)
    limit = torch.stack([colour_limit(layer[..., mask].flatten(-2)) for layer, mask in both])[..., None, None]
    moved = second - first
    pictures: dict[View, Tensor] = {
        "before": 1 + 254 * (first / limit).clamp(0, 1).sqrt(), "after": 1 + 254 * (second / limit).clamp(0, 1).sqrt(),
        "difference": 128 + 127 * signed_root(moved / moved.abs().max().clamp_min(1e-12)),
    }  # fmt: skip
    return {view: (one.round() * seen).to(torch.uint8) for view, one in pictures.items()}


def colour_limit(weights: Tensor) -> Tensor:
    """Where a head's colours end: one weight in 200 is larger, such as those of a causal model's first queries."""
    return weights.float().quantile(0.995, -1).clamp_min(1e-6)


def _pooled(maps: Tensor) -> Tensor:
    """Means over as many cells as it takes to have at most TILE on a side."""
    height, width = (min(TILE, side) for side in maps.shape[-2:])
    return torch.stack([nn.functional.adaptive_avg_pool2d(one.float(), (height, width)) for one in maps])


def signed_root(values: Tensor) -> Tensor:
    """The square root of the size, with the sign: what is faint becomes visible, zero stays zero."""
    return values.sign() * values.abs().sqrt()


def habit(one: Tensor, causal: bool) -> tuple[str, float]:
    """The place with a name that a head (queries, keys) gives most of its weight, and how much, over the queries that have it."""
    one = one.float()
    named = {"the first token": one[1:, 0]} if one.shape[0] > 1 else {}
    if one.shape[0] == one.shape[1]:
        named |= {"the token itself": one.diagonal(), "the token before": one.diagonal(-1)[1:]}
        named |= {} if causal else {"the token after": one.diagonal(1), "the last token": one[:-1, -1]}
    shares = {name: float(weights.mean()) for name, weights in named.items() if len(weights)}
    return max(shares.items(), key=lambda item: item[1], default=("the first token", 0.0))


def heads_of(model: Model, kind: str) -> Heads:
    """What the formula's letters are in this model."""
    config = model.config
    count = config.num_attention_heads
    if kind in ("decoder self-attention", "cross-attention"):
        count = getattr(config, "decoder_attention_heads", None) or count
    width = getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or config.hidden_size // count
    known = (getattr(module, "scaling", None) for module in model.module.modules())
    scaling = next((one for one in known if isinstance(one, float)), width**-0.5)
    return Heads(
        count=count, key_value_count=getattr(config, "num_key_value_heads", None) or count, width=width,
        scaling=scaling, rotary=getattr(config, "rope_parameters", None) is not None,
        position_bias=hasattr(config, "relative_attention_num_buckets") and kind != "cross-attention",
    )  # fmt: skip


def attention_report(setting: Setting, prompt: str) -> dict[str, Any]:
    """Entropy and divergence of every head, with the maps, as the command line prints them.

    An encoder–decoder reads the base's answer, so that both maps are of the same tokens.
    """
    before = attention(base(setting.model, setting.dtype), prompt)
    after = attention(setting, prompt, before.written)
    kinds: Mapping[str, Any] = {
        kind: {
            "queries": after.queries[kind], "keys": after.keys[kind], "maps": maps.tolist(),
            "entropy_bits": entropy(maps).tolist(), "divergence_bits": divergence(before.maps[kind], maps).tolist(),
        } for kind, maps in after.maps.items()
    }  # fmt: skip
    return {"model": setting.model.name, "recipe": setting.recipe.as_json(), "prompt": prompt, "attention": kinds}
