"""`--force` replaces what compress wrote, and deletes nothing else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from reparam_core.apply import apply
from reparam_core.errors import ReparamError
from reparam_core.models import load, write_packed


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Path], Path]:
    """Writes a small random model into a folder, with force."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
                                      num_attention_heads=4, max_position_embeddings=64)  # fmt: skip
    transformers.LlamaForCausalLM(config).half().save_pretrained(tmp_path / "model")
    setting = apply(load(tmp_path / "model"), "rtn:4")
    return lambda out: write_packed(out, setting.model, setting.forms, setting.storage, force=True)


def test_files_and_folder_have_the_mode_that_umask_gives(write: Callable[[Path], Path], tmp_path: Path) -> None:
    for umask in (0o022, 0o077, 0o002):
        before = os.umask(umask)
        try:
            write(tmp_path / f"out{umask}")
        finally:
            os.umask(before)
        modes = {one.name: one.stat().st_mode & 0o777 for one in (tmp_path / f"out{umask}").iterdir()}
        assert set(modes.values()) == {0o666 & ~umask}, modes
        assert (tmp_path / f"out{umask}").stat().st_mode & 0o777 == 0o777 & ~umask


def foreign_folder(place: Path) -> None:
    place.mkdir()


def someones_model(place: Path) -> None:
    place.mkdir()
    (place / "model.safetensors").write_bytes(b"trained for weeks")


def a_link(place: Path) -> None:
    place.with_name("target").mkdir()
    place.symlink_to(place.with_name("target"))


@pytest.mark.parametrize("make", [foreign_folder, someones_model, a_link, Path.touch])
def test_force_leaves_alone_what_compress_did_not_write(
    make: Callable[[Path], None], write: Callable[[Path], Path], tmp_path: Path
) -> None:
    place = tmp_path / "out"
    make(place)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ReparamError, match="no folder"):
        write(place)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("below", ["notes.txt", "results/figures.txt"])
def test_a_file_put_beside_the_weights_is_never_lost(below: str, write: Callable[[Path], Path], tmp_path: Path) -> None:
    write(tmp_path / "out")
    mine = tmp_path / "out" / below
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ReparamError, match="would be lost"):
        write(tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before
    assert mine.read_text(encoding="utf-8") == "mine"


def test_force_replaces_what_compress_wrote(write: Callable[[Path], Path], tmp_path: Path) -> None:
    first = write(tmp_path / "out").read_bytes()
    (tmp_path / "out" / "model.safetensors").write_bytes(b"spoiled")
    assert write(tmp_path / "out").read_bytes() == first
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model", "out"]
