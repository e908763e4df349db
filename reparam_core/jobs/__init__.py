"""The interactive evaluator, and what pages ask of it."""

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

__all__ = [
    "LARGE", "Comparison", "Details", "Evaluator", "Explored", "Point", "Ticket", "compared", "conversed", "detailed", "evaluator", "explored",
    "measured_so_far", "swept",
]  # fmt: skip
