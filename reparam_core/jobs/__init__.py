"""The interactive evaluator, and what pages ask of it."""

from reparam_core.jobs.evaluator import Evaluator, Ticket, evaluator
from reparam_core.jobs.exploring import Point, explored, measured_so_far, swept

__all__ = ["Evaluator", "Point", "Ticket", "evaluator", "explored", "measured_so_far", "swept"]
