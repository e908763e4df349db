"""From a name to a Model: safetensors only, never remote code, never pickle."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import nn

from reparam_core.errors import ReparamError, quoted
from reparam_core.models.catalogue import ENTRIES
from reparam_core.models.converting import converted
from reparam_core.models.fit import is_path, memory_needed
from reparam_core.models.model import Model
from reparam_core.models.packed import SPECS, read_packed
from reparam_core.models.pooled import MeanPooledBertForSequenceClassification
from reparam_core.models.wiring import rewired

Progress = Callable[[float, str], None]
transformers.logging.disable_progress_bar()  # progress goes to whoever asked for the model
transformers.logging.set_verbosity_error()  # what is amiss with a checkpoint is told in one line, below
KEPT = 8  # models in memory
_loaded: OrderedDict[str, Model] = OrderedDict()
_turns: dict[str, threading.Lock] = {}  # one a name, so that no model is read twice
_lock = threading.Lock()
# transformers makes the meta device everyone's while it builds a model: another that is built meanwhile would land there.
_filling = threading.Lock()
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model")
OWN_CLASSES = {one.__name__: one for one in (MeanPooledBertForSequenceClassification,)}
OBJECTIVES = (
    ("ForCausalLM", "causal"), ("LMHeadModel", "causal"), ("ForMaskedLM", "masked"), ("ForPreTraining", "masked"),
    ("ForSequenceClassification", "classification"), ("ForConditionalGeneration", "seq2seq"),
)  # fmt: skip


def load(name: str | Path, progress: Progress | None = None) -> Model:
    """The model of that catalogue name, folder or hub id: one a process, shared, never written to.

    The models used last stay; another name does not wait while one is read. Raises ReparamError for a name that is not
    known and for a folder that is not whole or not safe to load.
    """
    with _lock:
        turn = _turns.setdefault(str(name), threading.Lock())
    with turn:
        found = loaded(name)
        if found is None:
            found = _load(str(name), progress)
            _give_back()
            _keep(str(name), found)
        return found


def loaded(name: str | Path) -> Model | None:
    """The model of that name where it is in memory already."""
    with _lock:
        if str(name) in _loaded:
            _loaded.move_to_end(str(name))
        return _loaded.get(str(name))


def _keep(name: str, model: Model) -> None:
    with _lock:
        _loaded[name] = model
        while len(_loaded) > KEPT:
            _loaded.popitem(last=False)


def _give_back() -> None:
    """What reading left behind goes back to the system: a quarter of a model's size; where the C library can.

    What lives as long as the process leaves the garbage collector's rounds: one over all of it stops every thread for
    a quarter of a second, in the midst of whatever a slider asked for.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def _load(name: str, progress: Progress | None) -> Model:
    if not name.strip():
        raise ReparamError("No model is named.", f"Known: {', '.join(ENTRIES)}; a folder; or a hub id.")
    entry = ENTRIES.get(name)
    if entry is not None:
        folder = converted(entry, progress) if entry.package else entry.require()
        return _from_folder(name, folder, entry.source_bits)
    if os.path.exists(name):  # which swallows what no path can be
        return _from_folder(name, Path(name))
    if is_path(name):
        raise ReparamError(f"There is no folder {quoted(name)}.",
                           f"Give a folder that transformers saved, or one of {', '.join(ENTRIES)}.")  # fmt: skip
    return _from_folder(name, _from_hub(name))


def _from_folder(name: str, folder: Path, source_bits: int | None = None) -> Model:
    config, files = _read_config(folder), _weight_files(folder)
    _check_fits(name, sum(file.stat().st_size for file in files))
    try:
        return _read(name, folder, config, files, source_bits)
    except (SafetensorError, OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ReparamError(
            f"The weights in {folder} cannot be read: {error}.", "Fetch or compress them again."
        ) from error


def _read(name: str, folder: Path, config: Any, files: list[Path], source_bits: int | None) -> Model:
    packed = (folder / SPECS).exists()
    module = rewired(_empty(config)) if packed else _filled(config, folder)
    storage = _storage(files[0])
    model = Model(name, _frozen(module, storage), _tokenizer(folder), folder, _sha256(folder, files), storage,
                  _objective(config), source_bits)  # fmt: skip
    if packed:
        forms, rest = read_packed(folder)
        wide = {key: value.float() if value.is_floating_point() else value for key, value in rest.items()}
        module.load_state_dict(wide, strict=False)
        model.adopt(forms)
    return model


def _filled(config: Any, folder: Path) -> nn.Module:
    safe = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False}
    module: nn.Module
    with _filling:
        module, found = _class_of(config).from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **safe
        )
    _check_complete(folder, sorted(found["missing_keys"]), sorted(found["mismatched_keys"]))
    return module


def _check_complete(folder: Path, missing: list[str], mismatched: list[tuple[Any, ...]]) -> None:
    """Raises ReparamError where transformers filled what the file does not hold with random numbers."""
    remedy = "Fetch it again; or its config.json is that of another model than the weights."
    if mismatched:
        name, *shapes = mismatched[0]
        held, asked = (" × ".join(map(str, shape)) for shape in shapes)
        raise ReparamError(f"In {folder} {name} is {held}, and the configuration asks for {asked}.", remedy)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ReparamError(f"The weights in {folder} lack {missing[0]}{more}, which config.json asks for.", remedy)


def _read_config(folder: Path) -> Any:
    path = folder / "config.json"
    if not path.is_file():
        raise ReparamError(f"{folder} holds no config.json.", "Give a folder that transformers saved.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ReparamError(f"{path} is no valid JSON.", "Fetch the model again.") from error
    if "auto_map" in raw:
        raise ReparamError(
            f"{folder} asks to run its own code (auto_map).", "Only architectures of transformers are loaded."
        )
    try:
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a field of the wrong kind leads to in a hundred configurations' own code
        raise ReparamError(
            f"The configuration in {folder} is not understood: {error}.", "Give a transformers model."
        ) from error


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = [*folder.glob("*.bin"), *folder.glob("*.pt")]
        found = f"only pickled weights ({pickled[0].name}), which could run code" if pickled else "no weights"
        raise ReparamError(f"{folder} holds {found}.", "Give weights in *.safetensors.")
    for file in files:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ReparamError(f"{file} is damaged or cut short: {error}.", "Fetch it again.") from error
    return files


def _check_fits(name: str, on_disk: float) -> None:
    """Raises ReparamError where the memory does not do."""
    wanted, free = memory_needed(on_disk), psutil.virtual_memory().available
    if wanted > free:
        raise ReparamError(f"{name} needs about {wanted / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free.",
                           "Close other programs, or take a smaller model.")  # fmt: skip


def _tokenizer(folder: Path) -> Any:
    if not any((folder / file).exists() for file in TOKENIZERS):
        return None
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _class_of(config: Any) -> Any:
    name = (config.architectures or ["AutoModel"])[0]
    return OWN_CLASSES.get(name) or getattr(transformers, name, transformers.AutoModel)


def _empty(config: Any) -> nn.Module:
    named = _class_of(config)
    return named.from_config(config) if named is transformers.AutoModel else named(config)


def _frozen(module: nn.Module, storage: torch.dtype) -> nn.Module:
    """Evaluation mode, no gradients, every float rounded to what the file keeps."""
    module.eval().requires_grad_(False)
    for tensor in module.parameters():
        tensor.data = tensor.data.to(storage).float()
    return module


def _storage(file: Path) -> torch.dtype:
    with safe_open(file, "pt") as opened:
        kinds = {opened.get_slice(name).get_dtype() for name in sorted(opened.keys())}
    return torch.bfloat16 if "BF16" in kinds else torch.float16


def _objective(config: Any) -> str:
    name = (config.architectures or [""])[0]
    return next((objective for ending, objective in OBJECTIVES if name.endswith(ending)), "encoder")


def _sha256(folder: Path, files: list[Path]) -> str:
    """Of all that its answers depend on: weights, configuration, tokenizer."""
    beside = [folder / name for name in ("config.json", "parametrizations.json", *TOKENIZERS)]
    digest = hashlib.sha256()
    for file in [*files, *filter(Path.is_file, beside)]:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _from_hub(name: str) -> Path:
    """Fetched into the hub's own cache, once it is known to fit. Raises ReparamError."""
    import huggingface_hub as hub

    try:
        files = hub.HfApi().model_info(name, files_metadata=True).siblings or []
        _check_fits(name, sum(one.size or 0 for one in files if one.rfilename.endswith(".safetensors")))
        return Path(hub.snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
    except ReparamError:
        raise
    except Exception as error:  # the hub's client raises a dozen unrelated classes
        raise ReparamError(f"There is no model {quoted(name)} here, and the hub gave none ({type(error).__name__}).",
                           f"Known: {', '.join(ENTRIES)}; or a folder.") from error  # fmt: skip
