"""Points that tests of a page's parts speak of."""

from typing import Any

from reparam_core.jobs import Point
from reparam_core.recipes import Recipe


def point(recipe: str, perplexity: float = 30.0, **more: Any) -> Point:
    """A measured setting; only what a test speaks of differs."""
    parsed = Recipe.parse(recipe)
    known: dict[str, Any] = {
        "recipe": parsed.canonical, "short": parsed.short(), "source": "moby-dick", "asked": "a", "unit": "token",
        "convention": "sequences of 48, every position but the first scored", "labelled": False, "perplexity": perplexity,
        "base_perplexity": 20.0, "delta_nll": 0.4, "nll_interval": None, "accuracy": 0.3, "base_accuracy": 0.4,
        "accuracy_interval": None, "flips": 0.1, "kl_from_base": 0.2, "majority": None, "labels": [], "confusion": None,
        "tokens": 940, "answers": 940, "bytes": 5, "bytes_base": 10, "parameters": 5, "parameters_base": 10,
        "dtype": "float32", "seconds": 1.0, "nll_blocks": [], "right_blocks": [], "final": True,
    }  # fmt: skip
    return Point(**known | more)
