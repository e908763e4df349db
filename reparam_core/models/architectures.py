"""What is peculiar to an architecture, as data: which module holds which canonical role."""

from __future__ import annotations

import re
from dataclasses import dataclass

ATTENTION = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o", "out_proj": "o"}
LLAMA = {f"layers.{{i}}.self_attn.{name}": f"layers.{{i}}.attention.{role}" for name, role in ATTENTION.items()} | {
    f"layers.{{i}}.mlp.{name}_proj": f"layers.{{i}}.mlp.{name}" for name in ("up", "gate", "down")
}
OPT = {f"layers.{{i}}.self_attn.{name}": f"layers.{{i}}.attention.{role}" for name, role in ATTENTION.items()} | {
    "layers.{i}.fc1": "layers.{i}.mlp.up",
    "layers.{i}.fc2": "layers.{i}.mlp.down",
}
GPT2 = {
    "h.{i}.attn.c_attn": "layers.{i}.attention.q+k+v",
    "h.{i}.attn.c_proj": "layers.{i}.attention.o",
    "h.{i}.mlp.c_fc": "layers.{i}.mlp.up",
    "h.{i}.mlp.c_proj": "layers.{i}.mlp.down",
}
GPT_NEOX = {
    "layers.{i}.attention.query_key_value": "layers.{i}.attention.q+k+v",
    "layers.{i}.attention.dense": "layers.{i}.attention.o",
    "layers.{i}.mlp.dense_h_to_4h": "layers.{i}.mlp.up",
    "layers.{i}.mlp.dense_4h_to_h": "layers.{i}.mlp.down",
}
BERT = {
    "layer.{i}.attention.self.query": "layers.{i}.attention.q",
    "layer.{i}.attention.self.key": "layers.{i}.attention.k",
    "layer.{i}.attention.self.value": "layers.{i}.attention.v",
    "layer.{i}.attention.output.dense": "layers.{i}.attention.o",
    "layer.{i}.intermediate.dense": "layers.{i}.mlp.up",
    "layer.{i}.output.dense": "layers.{i}.mlp.down",
}
DISTILBERT = {f"layer.{{i}}.attention.{name}_lin": f"layers.{{i}}.attention.{name}" for name in "qkv"} | {
    f"layer.{{i}}.attention.{name}_proj": f"layers.{{i}}.attention.{name}" for name in "qkvo"
} | {
    "layer.{i}.attention.out_lin": "layers.{i}.attention.o",
    "layer.{i}.ffn.lin1": "layers.{i}.mlp.up",
    "layer.{i}.ffn.lin2": "layers.{i}.mlp.down",
    "layer.{i}.mlp.fc1": "layers.{i}.mlp.up",
    "layer.{i}.mlp.fc2": "layers.{i}.mlp.down",
}  # fmt: skip
T5 = {
    f"{stack}.block.{{i}}.layer.{place}.{module}.{name}": f"{stack}.layers.{{i}}.{kind}.{name}"
    for stack, place, module, kind in (
        ("encoder", 0, "SelfAttention", "attention"),
        ("decoder", 0, "SelfAttention", "attention"),
        ("decoder", 1, "EncDecAttention", "cross"),
    )
    for name in "qkvo"
} | {
    f"{stack}.block.{{i}}.layer.{place}.DenseReluDense.{name}": f"{stack}.layers.{{i}}.mlp.{role}"
    for stack, place in (("encoder", 1), ("decoder", 2))
    for name, role in (("wi", "up"), ("wi_0", "gate"), ("wi_1", "up"), ("wo", "down"))
}
BLOCKS = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"), LLAMA),
    "opt": OPT, "gpt2": GPT2, "gpt_neox": GPT_NEOX, "bert": BERT, "roberta": BERT, "distilbert": DISTILBERT, "t5": T5,
}  # fmt: skip
AROUND = {
    "embedding": ("embed_tokens", "wte", "embed_in", "word_embeddings", "shared"),
    "position": ("wpe", "embed_positions", "position_embeddings"),
    "pooler": ("pooler.dense",),
    "rotation": ("norm.rotation",),  # behind the last norm of a rewritten model
    "head": (
        "lm_head",
        "embed_out",
        "classifier",
        "score",
        "predictions.decoder",
        "lm_head.decoder",
        "vocab_projector",
    ),
}
INTERLEAVED = ("gpt_neox",)  # the fused rows go (head, q|k|v, head width) rather than (q|k|v, head, head width)


@dataclass(frozen=True)
class Place:
    """A role and where its matrix lies: a module, and which of its `parts` fused ones it is."""

    role: str
    module: str
    part: int = 0
    parts: int = 1


def places(model_type: str, module: str) -> list[Place]:
    """The roles of a module: several where projections are fused; `other.<path>` where no table knows it."""
    for template, role in BLOCKS.get(model_type, {}).items():
        pattern = r"(?:^|.*\.)" + re.escape(template).replace(r"\{i\}", r"(\d+)")
        if found := re.fullmatch(pattern, module):
            return _fused(role.replace("{i}", found.group(1)), module)
    for role, names in AROUND.items():
        if any(module == name or module.endswith(f".{name}") for name in names):
            return [Place(role, module)]
    return [Place(f"other.{module}", module)]


def _fused(role: str, module: str) -> list[Place]:
    stem, _, last = role.rpartition(".")
    names = last.split("+")
    return [Place(f"{stem}.{name}", module, index, len(names)) for index, name in enumerate(names)]
