"""What a model's answers are counted in."""

from reparam_core.models import Model


def unit_of(model: Model) -> str:
    """`sentence` for a classifier, whose loss is one number a sentence; else `token`."""
    return "sentence" if model.objective == "classification" else "token"
