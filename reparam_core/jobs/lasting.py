"""How long calibration text takes to read, said before it is read."""

from __future__ import annotations

from reparam_core.data import fitting
from reparam_core.losses import LENGTH, LOSSES, SEQUENCES, numbers_read
from reparam_core.methods.base import Method
from reparam_core.models import Model
from reparam_core.recipes import Calibration, Recipe
from reparam_core.written import WRITTEN, written_before

# Seconds a number of the blocks and a token, on two cores; sequential reads every block twice and once more to go on.
# Of losses a number that a unit's pass multiplies with, the head's too.
# A written token costs a small model more for its number, and a large one less.
SECONDS = {"one-shot": 4.5e-11, "sequential": 9e-11, "losses": 4.5e-11, "written": 1e-10}


def seconds_to_read(model: Model, calibration: Calibration, statistics: str) -> float:
    """For the statistics of a whole model's inputs: once, or sequentially, for every setting anew."""
    return _seconds(statistics, model, calibration)


def seconds_to_write(model: Model, calibration: Calibration) -> float:
    """Until the model has written the text itself; 0 where it need not, or has done so before."""
    count, length, offset = calibration.sequences, calibration.length, calibration.offset
    if calibration.text != WRITTEN or model.objective != "causal" or written_before(model, count, length, offset):
        return 0.0
    return _seconds(WRITTEN, model, calibration)


def _seconds(what: str, model: Model, calibration: Calibration) -> float:
    numbers = sum(one.parameters for one in model.matrices.values() if one.compressed_by_default)
    return SECONDS[what] * numbers * calibration.sequences * fitting(model, calibration.length)


def seconds_to_measure(model: Model, calibration: Calibration, method: Method) -> float:
    """For the loss without each unit of a method that needs losses."""
    roles = [role for role, one in model.matrices.items() if one.compressed_by_default]
    tokens = min(SEQUENCES, calibration.sequences) * min(LENGTH, fitting(model, calibration.length))
    return SECONDS["losses"] * tokens * numbers_read(model, dict.fromkeys(roles, method))


def seconds_at_first(model: Model, recipe: Recipe) -> float:
    """What a recipe's calibration takes where nothing of it is kept; 0 where it reads none."""
    steps = [step for rule in recipe.rules for step in rule.steps.values() if step and step.needs]
    read = {step.statistics for step in steps if step.needs != LOSSES}
    before = ["one-shot" for one in recipe.transform if one.needs]  # each the inputs that the one before it leaves
    measured = {step.method for step in steps if "losses" in step.needs}
    written = seconds_to_write(model, recipe.calibration) if recipe.reads else 0.0
    told = [seconds_to_read(model, recipe.calibration, one) for one in (*before, *read)]
    return written + sum(told) + sum(seconds_to_measure(model, recipe.calibration, one) for one in measured)
