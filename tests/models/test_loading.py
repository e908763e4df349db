"""Loading: the models used last stay, each name is read once, and the hub is asked for the size first."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda config, weights: weights.pop("model.layers.0.self_attn.q_proj.weight"), r"lack model\.layers\.0\.self_attn\.q_proj\.weight, "),
        (lambda config, weights: config.update(num_hidden_layers=2), r"lack model\.layers\.1\.\S+ and \d+ more, "),
        (lambda config, weights: config.update(hidden_size=32), r"is \d+ × \d+, and the configuration asks for \d+ × 32"),
    ],
)  # fmt: skip
def test_weights_that_are_not_those_of_the_configuration_are_refused_in_one_line(
    folders: list[Path], tmp_path: Path, change: Any, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((folders[0] / "config.json").read_text(encoding="utf-8"))
    weights = load_file(folders[0] / "model.safetensors")
    change(config, weights)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ReparamError, match=told) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
