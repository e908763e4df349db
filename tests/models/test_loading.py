"""Loading: the models used last stay, each name is read once, and the hub is asked for the size first."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import transformers

from reparam_core.errors import ReparamError
from reparam_core.models import load, loaded, loading


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                                      num_attention_heads=2)  # fmt: skip
    made = [tmp_path_factory.mktemp(f"model-{index}") for index in range(3)]
    for folder in made:
        transformers.LlamaForCausalLM(config).half().save_pretrained(folder)
    return made


def test_a_name_is_read_once_however_many_ask(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read, real = [], loading._load
    monkeypatch.setattr(loading, "_load", lambda *told: read.append(told[0]) or real(*told))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(load, [folders[0]] * 4))
    assert len(read) == 1
    assert all(one is found[0] for one in found)


def test_the_models_used_last_stay_in_memory(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "KEPT", 2)
    first = load(folders[0])
    load(folders[1])
    assert load(folders[0]) is first  # used again: the other one is now the oldest
    load(folders[2])
    assert loaded(folders[0]) is first
    assert loaded(folders[1]) is None


def test_another_tokenizer_or_configuration_is_another_model(folders: list[Path], tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        return loading._sha256(folder, [folder / "model.safetensors"])

    before = digest(folders[0])
    config = folders[0] / "config.json"
    kept = config.read_text(encoding="utf-8")
    config.write_text(kept.replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 0.1'), encoding="utf-8")
    assert digest(folders[0]) != before
    config.write_text(kept, encoding="utf-8")
    assert digest(folders[0]) == before


def test_a_model_of_the_hub_that_does_not_fit_is_refused_before_it_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [SimpleNamespace(rfilename="model.safetensors", size=10**15), SimpleNamespace(rfilename="x.bin", size=1)]
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=files))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("it was fetched"))
    with pytest.raises(ReparamError, match="memory"):
        load("someone/too-large")
