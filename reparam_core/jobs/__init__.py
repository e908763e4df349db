"""The interactive evaluator, and what pages ask of it."""

from reparam_core.jobs.evaluator import Evaluator, Ticket, evaluator
from reparam_core.jobs.exploring import Details, Explored, Point, conversed, detailed, explored, measured_so_far, swept

__all__ = [
    "Details", "Evaluator", "Explored", "Point", "Ticket", "conversed", "detailed", "evaluator", "explored",
    "measured_so_far", "swept",
]  # fmt: skip
