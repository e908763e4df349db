"""Whether a model fits is said before it is loaded, and agrees with what loading does."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
import transformers

from reparam_core import ReparamError, load
from reparam_core.models import ENTRIES, Fit, fit

GIGA = 1e9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4
    )
    transformers.LlamaForCausalLM(config).half().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_takes_four_times_its_file(folder: Path) -> None:
    """Twice for float32 from 16 bits, and room for one setting beside it."""
    found = fit(str(folder))
    assert found.memory == 4 * (folder / "model.safetensors").stat().st_size
    assert (found.disk, found.problem) == (0, "")
    assert found.seconds >= 1


@pytest.mark.parametrize("share", [0.99, 1.01])
def test_what_is_foretold_is_what_loading_does(share: float, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = fit(str(folder)).memory
    assert needed
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=share * needed))
    if share < 1:
        assert "of memory" in fit(str(folder)).problem
        with pytest.raises(ReparamError, match="of memory"):
            load(folder)
    else:
        assert fit(str(folder)).problem == ""
        assert load(folder).parameters


def test_what_is_not_here_has_no_known_size() -> None:
    found = fit("someone/some-model")
    assert found.memory is None
    assert found.problem == ""
    assert "known once it is fetched" in str(found)


@pytest.mark.parametrize("name", ["/no/such/folder", "./model", "~/model", "a/b/c", "C:\\model"])
def test_a_folder_that_is_not_there_takes_no_time_to_fetch(name: str) -> None:
    assert fit(name).seconds == 0


@pytest.mark.parametrize("name", ENTRIES)
def test_every_model_of_the_catalogue_can_be_asked(name: str) -> None:
    found = fit(name)
    assert found.free_memory > 0
    assert found.free_disk > 0
    assert (found.memory is None) == (ENTRIES[name].source is None) or found.memory


def test_memory_and_disk_are_told_in_units_of_people() -> None:
    tight = Fit(3 * GIGA, 2 * GIGA, 270e6, 100e6, 60)
    assert tight.problem == "It needs 3.0 GB of memory and 2.0 GB are free. Close other programs."
    full = Fit(1 * GIGA, 2 * GIGA, 270e6, 100e6, 60)
    assert full.problem == "It needs 270 MB of disk and 100 MB are free. Make room first."
    roomy = Fit(1 * GIGA, 2 * GIGA, 270e6, 10 * GIGA, 60)
    assert roomy.problem == ""
    assert str(roomy) == "Takes 1.0 GB of the 2.0 GB memory free, writes 270 MB to disk once, about 60 s."
