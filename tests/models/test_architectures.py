"""Every architecture: every matrix found under its canonical role, and its own dense form changes no answer."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t

from reparam_core.apply import apply, base
from reparam_core.models import load, packed_bytes, write_packed
from reparam_core.models.model import Model
from tests.tiny import answered

SMALL: dict[str, Any] = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                         "num_attention_heads": 4, "max_position_embeddings": 64}  # fmt: skip
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
CASES = {
    "llama": (t.LlamaForCausalLM, t.LlamaConfig(**GROUPED)),
    "mistral": (t.MistralForCausalLM, t.MistralConfig(**GROUPED)),
    "qwen2": (t.Qwen2ForCausalLM, t.Qwen2Config(**GROUPED)),
    "qwen3": (t.Qwen3ForCausalLM, t.Qwen3Config(**GROUPED)),
    "gemma": (t.GemmaForCausalLM, t.GemmaConfig(**GROUPED)),
    "opt": (t.OPTForCausalLM, t.OPTConfig(**(SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32}))),
    "gpt_neox": (t.GPTNeoXForCausalLM, t.GPTNeoXConfig(**SMALL)),
    "gpt2": (t.GPT2LMHeadModel, t.GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "bert": (t.BertForMaskedLM, t.BertConfig(**SMALL)),
    "roberta": (t.RobertaForMaskedLM, t.RobertaConfig(**SMALL)),
    "distilbert": (
        t.DistilBertForMaskedLM,
        t.DistilBertConfig(vocab_size=96, dim=32, hidden_dim=48, n_layers=2, n_heads=4),
    ),
    "t5": (
        t.T5ForConditionalGeneration,
        t.T5Config(vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0),
    ),
}
FUSED = {"gpt2", "gpt_neox"}
EVERY = pytest.mark.parametrize("name", CASES)


@pytest.fixture
def saved(tmp_path: Path, name: str) -> Model:
    torch.manual_seed(0)
    kind, config = CASES[name]
    kind(config).half().save_pretrained(tmp_path / name)
    return load(tmp_path / name)


@EVERY
def test_every_matrix_of_the_blocks_has_its_role(name: str, saved: Model) -> None:
    blocks = [role for role, one in saved.matrices.items() if one.compressed_by_default]
    per_layer = {"attention.q", "attention.k", "attention.v", "attention.o", "mlp.up", "mlp.down"}
    prefix = "decoder.layers.1." if name == "t5" else "layers.1."
    assert per_layer <= {role.removeprefix(prefix) for role in blocks if role.startswith(prefix)}
    strangers = [role for role in saved.matrices if role.startswith("other.") and ("layer" in role or ".h." in role)]
    assert all("relative_attention_bias" in role for role in strangers)
    assert "embedding" in saved.matrices


@EVERY
def test_its_own_dense_form_changes_no_answer(name: str, saved: Model) -> None:
    expected = answered(saved.module)
    for role in saved.matrices:
        answer = answered(saved.clone({role: saved.form(role).stored(torch.float16)}))
        if name in FUSED:
            torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(answer, expected), role


@EVERY
def test_packed_folder_has_the_foretold_size_and_the_same_answers(name: str, saved: Model, tmp_path: Path) -> None:
    before = {key: value.clone() for key, value in saved.module.state_dict().items()}
    setting = apply(saved, "svd:0.5 + magnitude:0.5 + rtn:4g16")
    file = write_packed(tmp_path / "packed", saved, setting.forms, setting.storage)
    assert file.stat().st_size == packed_bytes(saved, setting.forms, setting.storage) == setting.bytes
    again = load(tmp_path / "packed")
    torch.testing.assert_close(answered(again.module), answered(setting.module), rtol=1e-3, atol=1e-4)
    assert base(again).bytes == setting.bytes
    assert all(torch.equal(before[key], value) for key, value in saved.module.state_dict().items())
