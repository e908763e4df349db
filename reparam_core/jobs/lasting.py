"""How long calibration text takes to read, said before it is read."""

from __future__ import annotations

from reparam_core.data import fitting
from reparam_core.models import Model
from reparam_core.recipes import Calibration, Recipe

# Seconds a number of the blocks and a token, on two cores; sequential reads every block twice and once more to go on.
SECONDS = {"one-shot": 4.5e-11, "sequential": 9e-11}


def seconds_to_read(model: Model, calibration: Calibration, statistics: str) -> float:
    """For the statistics of a whole model's inputs: once, or sequentially, for every setting anew."""
    numbers = sum(one.parameters for one in model.matrices.values() if one.compressed_by_default)
    return SECONDS[statistics] * numbers * calibration.sequences * fitting(model, calibration.length)


def seconds_at_first(model: Model, recipe: Recipe) -> float:
    """What a recipe's calibration takes where nothing of it is kept; 0 where it reads none."""
    read = {step.statistics for rule in recipe.rules for step in rule.steps.values() if step and step.needs}
    before = ["one-shot" for one in recipe.transform if one.needs]  # each the inputs that the one before it leaves
    return sum(seconds_to_read(model, recipe.calibration, one) for one in (*before, *read))
