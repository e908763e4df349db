"""How one setting is spread over the matrices of a rule: a file a way, found as methods are."""

from reparam_core.splits.base import Split

__all__ = ["Split"]
