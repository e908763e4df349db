"""Small random models of several families, and token sequences that they can read."""

from pathlib import Path
from typing import Any

import torch
import transformers as t

from reparam_core.data import Sequences

SMALL: dict[str, Any] = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                         "num_attention_heads": 4, "max_position_embeddings": 64}  # fmt: skip
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
FAMILIES: dict[str, tuple[Any, Any]] = {
    "llama": (t.LlamaForCausalLM, lambda: t.LlamaConfig(**GROUPED, tie_word_embeddings=True)),
    "gpt2": (t.GPT2LMHeadModel, lambda: t.GPT2Config(
        vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0)),
    "bert": (t.BertForMaskedLM, lambda: t.BertConfig(**SMALL)),
    "t5": (t.T5ForConditionalGeneration, lambda: t.T5Config(
        vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0)),
    "mistral": (t.MistralForCausalLM, lambda: t.MistralConfig(**GROUPED, sliding_window=4)),
    "gemma2": (t.Gemma2ForCausalLM, lambda: t.Gemma2Config(**GROUPED, sliding_window=4, query_pre_attn_scalar=8)),
}  # fmt: skip


def built(name: str) -> t.PreTrainedModel:
    """Grouped attention and a tied head, fused and transposed matrices, an encoder, both stacks, windows of attention."""
    kind, config = FAMILIES[name]
    torch.manual_seed(0)
    return kind(config())


def saved(place: Path, *names: str) -> Path:
    """The folder that holds a checkpoint of each, numbers as float16."""
    for name in names:
        built(name).half().save_pretrained(place / name)
    return place


def read(count: int = 6, length: int = 12, seed: int = 0) -> Sequences:
    """Random ids, so many that the last batch is smaller than the others."""
    ids = torch.randint(2, 96, (count, length), generator=torch.Generator().manual_seed(seed))
    return Sequences(ids, "random", f"seed {seed}", 0, None)


def answered(module: Any, ids: torch.Tensor | None = None) -> torch.Tensor:
    """The logits of these ids (rows, length), a decoder given the same ones where there is one."""
    ids = torch.arange(2, 22).view(2, 10) if ids is None else ids
    extra = {"decoder_input_ids": ids} if module.config.is_encoder_decoder else {}
    with torch.no_grad():
        logits: torch.Tensor = module(input_ids=ids, **extra).logits
    return logits
