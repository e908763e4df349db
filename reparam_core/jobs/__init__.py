"""The interactive evaluator, and what pages ask of it."""

from reparam_core.jobs.attention import Attended, attended
from reparam_core.jobs.evaluator import Evaluator, Ticket, evaluator
from reparam_core.jobs.exploring import (
    LARGE,
    Comparison,
    Details,
    Explored,
    Point,
    compared,
    conversed,
    detailed,
    explored,
    measured_so_far,
    swept,
)
from reparam_core.jobs.spectra import (
    Compared,
    CutQuality,
    Layers,
    Side,
    als_losses,
    compared_layers,
    compared_spectrum,
    cut_qualities,
    cut_quality,
    cut_recipe,
    ladder,
    on_one_base,
    seen_roles,
)

__all__ = [
    "LARGE", "Attended", "Compared", "Comparison", "CutQuality", "Details", "Evaluator", "Explored", "Layers", "Point", "Side", "Ticket", "als_losses", "attended",
    "compared",    "compared_layers", "compared_spectrum", "conversed", "cut_qualities", "cut_quality", "cut_recipe", "detailed", "evaluator",
    "explored", "ladder", "measured_so_far", "on_one_base", "seen_roles", "swept",
]  # fmt: skip
