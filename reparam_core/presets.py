"""Recipes with a name, which stand wherever a recipe is read: chosen by measurement, as benchmarks/README.md tells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PRESETS = Path(__file__).resolve().parents[1] / "assets" / "methods" / "presets.json"


@dataclass(frozen=True)
class Preset:
    """A recipe in the short form or as JSON, and what it is for."""

    name: str
    title: str
    summary: str
    recipe: str


@cache
def presets() -> dict[str, Preset]:
    """Name → preset, in the order of menus."""
    return {one["name"]: Preset(**one) for one in json.loads(PRESETS.read_text(encoding="utf-8"))}
