"""Does a model fit this machine, and how long until it is there? Said before it is loaded."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from reparam_core.models.catalogue import ENTRIES, models_folder

FETCHING = 60.0  # seconds that a model of the hub takes; a folder that is not there is said to be missing at once


@dataclass(frozen=True)
class Fit:
    """What loading takes, beside what there is; sizes in bytes."""

    memory: float | None  # None: not known before it is fetched
    free_memory: float
    disk: float
    free_disk: float
    seconds: float

    @property
    def problem(self) -> str:
        """Why it cannot be loaded, and what to do; empty where it can."""
        if self.memory and self.memory > self.free_memory:
            return (
                f"It needs {_told(self.memory)} of memory and {_told(self.free_memory)} are free. Close other programs."
            )
        if self.disk > self.free_disk:
            return f"It needs {_told(self.disk)} of disk and {_told(self.free_disk)} are free. Make room first."
        return ""

    def __str__(self) -> str:
        memory = (
            f"Takes {_told(self.memory)} of the {_told(self.free_memory)} memory free"
            if self.memory
            else "Its size is known once it is fetched"
        )
        disk = f", writes {_told(self.disk)} to disk once" if self.disk else ""
        return f"{memory}{disk}, about {self.seconds:.0f} s."


def memory_needed(on_disk: float) -> float:
    """Bytes in memory for a file of 16 bits a number: float32 is twice that, and a setting beside it as much again."""
    return 4.0 * on_disk


def fit(name: str) -> Fit:
    """For a catalogue name, a folder, or a hub id."""
    free_memory = float(psutil.virtual_memory().available)
    folder = models_folder().absolute()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    free_disk = float(shutil.disk_usage(there).free)
    entry = ENTRIES.get(name)
    if entry is not None and entry.source and not (entry.folder / "config.json").exists():
        return Fit(1.5 * memory_needed(entry.bytes), free_memory, entry.bytes, free_disk, entry.seconds)
    folder = entry.folder if entry is not None else Path(name)
    if not os.path.isdir(folder):  # which swallows what no path can be
        return Fit(None, free_memory, 0, free_disk, 0 if is_path(name) else FETCHING)
    on_disk = sum(one.stat().st_size for one in folder.rglob("*.safetensors"))
    return Fit(memory_needed(on_disk), free_memory, 0, free_disk, max(1.0, on_disk / 2e8))


def is_path(name: str) -> bool:
    """Can it be no hub id, which is owner/name at most?"""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name


def _told(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
