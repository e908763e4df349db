"""The engine first: it says how torch's threads wait, which torch reads once."""

from reparam_core import threads as threads
