"""Which settings to measure next."""

from reparam_core.search.curves import curve_recipes

__all__ = ["curve_recipes"]
