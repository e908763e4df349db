"""How long it takes to find out what a recipe needs of the calibration text, said before it is read."""

from __future__ import annotations

from collections.abc import Sequence

from reparam_core.data import fitting
from reparam_core.losses import LENGTH, LOSSES, SEQUENCES, numbers_read
from reparam_core.methods.base import Method
from reparam_core.methods.rewriting import Transform
from reparam_core.models import Model
from reparam_core.recipes import Calibration, Recipe, Step
from reparam_core.splits import Split
from reparam_core.written import WRITTEN, written_before

# Seconds a number of the blocks and a token, on two cores; sequential reads every block twice and once more to go on.
# Gradients take a pass forwards and one backwards, a sequence at a time: 2.2 times reading.
# Of losses a number that a unit's pass multiplies with, the head's too.
# A written token costs a small model more for its number, and a large one less.
SECONDS = {"one-shot": 4.5e-11, "sequential": 9e-11, "gradients": 1e-10, "losses": 4.5e-11, WRITTEN: 1e-10}
Reader = Method | Split | Transform | Step  # all of which say what they need
Pass = str | Method  # one of those above, or a method whose units are left out one by one


def seconds_to_read(model: Model, calibration: Calibration, reader: Reader, statistics: str = "one-shot") -> float:
    """What one reader's needs take where nothing of them is kept: once, or sequentially, for every setting anew."""
    return _seconds(model, calibration, _passes(reader, statistics))


def seconds_at_first(model: Model, recipe: Recipe) -> float:
    """What all that a recipe needs takes where nothing of it is kept; 0 where it reads no text."""
    before = [one for transform in recipe.transform for one in _passes(transform, "one-shot")]
    steps = [step for rule in recipe.rules for step in rule.steps.values() if step]
    found = dict.fromkeys(one for step in steps for one in _passes_of_step(step))
    return _seconds(
        model, recipe.calibration, [*before, *found]
    )  # before: each the inputs that the one before it leaves


def _passes_of_step(step: Step) -> list[Pass]:
    """The method's own, and of the untouched model what its split works on."""
    return _passes(step.method, step.statistics) + (_passes(step, "one-shot") if step.split else [])


def _passes(reader: Reader, statistics: str) -> list[Pass]:
    """What has to be gone through for its needs."""
    found: list[Pass] = [statistics] if reader.needs - LOSSES else []
    found += ["gradients"] if "gradients" in reader.needs else []
    return found + ([reader] if isinstance(reader, Method) and reader.needs & LOSSES else [])


def _seconds(model: Model, calibration: Calibration, passes: Sequence[Pass]) -> float:
    """Of all these passes, and of writing the text where the model has yet to do so."""
    numbers = sum(one.parameters for one in model.matrices.values() if one.compressed_by_default)
    read = numbers * calibration.sequences * fitting(model, calibration.length)
    written = [WRITTEN] if passes and _yet_to_write(model, calibration) else []
    return sum(_to_measure(model, calibration, one) if isinstance(one, Method) else SECONDS[one] * read
               for one in (*written, *passes))  # fmt: skip


def _yet_to_write(model: Model, calibration: Calibration) -> bool:
    """Is the text one that the model writes itself, and has not written before?"""
    count, length, offset = calibration.sequences, calibration.length, calibration.offset
    own = calibration.text == WRITTEN and model.writes_text
    return own and written_before(model, count, length, offset, calibration.sentences) is None


def _to_measure(model: Model, calibration: Calibration, method: Method) -> float:
    """The loss without each of the method's units."""
    roles = [role for role, one in model.matrices.items() if one.compressed_by_default]
    tokens = min(SEQUENCES, calibration.sequences) * min(LENGTH, fitting(model, calibration.length))
    return SECONDS["losses"] * tokens * numbers_read(model, dict.fromkeys(roles, method))
