"""What a model is made of, against transformers' own count and the file that is written."""

from pathlib import Path

import pytest
import torch
import transformers

from reparam_core import apply, load
from reparam_core.models import Model, inspect, write_packed

SMALL = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 64}  # fmt: skip
CASES = {
    "tied": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, tie_word_embeddings=True)),
    "untied": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, tie_word_embeddings=False)),
    "fused": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0)),
    "biased": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SMALL)),
    "two stacks": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0)),
}  # fmt: skip


@pytest.fixture(params=CASES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    torch.manual_seed(0)
    CASES[request.param]().half().save_pretrained(tmp_path / "model")
    return load(tmp_path / "model")


def weight_of(model: Model, path: str) -> torch.Tensor:
    weight = model.module.get_submodule(path).weight
    assert isinstance(weight, torch.Tensor)
    return weight


def test_numbers_are_those_that_transformers_counts(model: Model) -> None:
    found = inspect(model)
    assert found["parameters"] == sum(one.numel() for one in model.module.parameters())
    assert sum(one["parameters"] for one in found["matrices"]) <= found["parameters"]
    assert all(one["parameters"] == one["shape"][0] * one["shape"][1] for one in found["matrices"])
    assert found["architecture"] == model.config.model_type


def test_bytes_of_the_base_are_those_of_its_file(model: Model, tmp_path: Path) -> None:
    file = write_packed(tmp_path / "packed", model, {}, model.storage)
    found = inspect(model)
    assert found["bytes_base"] == file.stat().st_size
    assert all(one["bytes"] == 2 * one["parameters"] for one in found["matrices"])
    assert {one["dtype"] for one in found["matrices"]} == {"float16"}


def test_every_matrix_is_where_it_says(model: Model) -> None:
    for one in inspect(model)["matrices"]:
        assert weight_of(model, one["module"]).numel() % one["parameters"] == 0
        assert tuple(model.weight(one["role"]).shape) == tuple(one["shape"])
        assert one["compressed_by_default"] == ("layers." in one["role"] and not one["role"].startswith("other."))


def test_tied_modules_are_one_matrix(model: Model) -> None:
    found = inspect(model)
    for group in found["tied"]:
        weights = {weight_of(model, path).data_ptr() for path in group}
        assert len(weights) == 1
        assert sum(one["module"] in group for one in found["matrices"]) == 1
    tie = getattr(model.config, "tie_word_embeddings", False)
    assert bool(found["tied"]) == bool(tie)
    assert ("head" in {one["role"] for one in found["matrices"]}) == (not tie)


def test_a_packed_folder_says_what_it_holds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    CASES["tied"]().half().save_pretrained(tmp_path / "model")
    setting = apply(load(tmp_path / "model"), "svd:0.5 + rtn:4")
    file = write_packed(tmp_path / "packed", setting.model, setting.forms, setting.storage)
    found = inspect(load(tmp_path / "packed"))
    assert found["bytes_base"] == file.stat().st_size
    assert found["parameters"] == setting.parameters
    assert {one["role"]: one["bytes"] for one in found["matrices"]} == {
        role: setting.form(role).nbytes for role in setting.model.matrices
    }
