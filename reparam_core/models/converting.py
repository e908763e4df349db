"""Weights as packages carry them → a plain folder of safetensors, once a machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from reparam_core.errors import ReparamError
from reparam_core.models.catalogue import ASSETS, Entry
from reparam_core.models.pooled import MeanPooledBertForSequenceClassification

Progress = Callable[[float, str], None]
WEIGHTS = "model.safetensors"


def converted(entry: Entry, progress: Progress | None = None) -> Path:
    """The folder of a package's model; converted now where it was not before, and there whole or not at all.

    Raises ReparamError where the package is missing or the disk refuses.
    """
    source, folder = entry.require(), entry.folder
    if (folder / "config.json").exists():
        return folder
    if progress:
        progress(0.05, f"Converting {entry.name} from its package: about {entry.seconds:.0f} s, once")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            CONVERTERS[entry.name](source, aside)
            os.replace(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except (OSError, SafetensorError) as error:  # a full disk is either, by which file it meets
        raise ReparamError(f"{entry.name} could not be converted into {folder.parent}: "
                           f"{getattr(error, 'strerror', None) or error}.",
                           "Make room, or name another folder with REPARAM_MODELS.") from error  # fmt: skip
    return folder


def _from_gguf(source: Path, folder: Path) -> None:
    """A quantized GGUF file as float16."""
    file = next(source.rglob("*.gguf"))
    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    read = transformers.AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    config = read.config
    del config.quantization_config  # what is saved is plain float16
    plain = type(read)(config)
    plain.load_state_dict(read.state_dict())
    plain.half().save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(**place).save_pretrained(folder)


def _with_head(source: Path, folder: Path) -> None:
    """MiniLM as it is, in float16, and beside it the head that was trained on its frozen states."""
    inner = next(source.rglob("config.json")).parent
    config = transformers.AutoConfig.from_pretrained(inner, num_labels=2)
    config.architectures = [MeanPooledBertForSequenceClassification.__name__]
    config.id2label, config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
    encoder = {f"bert.{name}": tensor.half() for name, tensor in load_file(inner / WEIGHTS).items()
               if tensor.is_floating_point() and not name.startswith("pooler.")}  # fmt: skip
    head = load_file(ASSETS / "minilm-sentiment-head" / WEIGHTS)
    save_file(encoder | head, folder / WEIGHTS, metadata={"format": "pt"})
    config.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(inner).save_pretrained(folder)


CONVERTERS: dict[str, Callable[[Path, Path], None]] = {
    "smollm2-135m-instruct": _from_gguf,
    "minilm-l6": _with_head,
}
