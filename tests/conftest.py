"""The engine first: it says how torch's threads wait, which torch reads once."""

from reparam_core import threads as threads

# isort: split
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")
