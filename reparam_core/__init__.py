"""What happens to a transformer when its weights are written in another form."""

from reparam_core import threads as threads

# isort: split
from reparam_core.apply import apply, base
from reparam_core.errors import ReparamError
from reparam_core.measure import measure
from reparam_core.models import load

__all__ = ["ReparamError", "apply", "base", "load", "measure"]
