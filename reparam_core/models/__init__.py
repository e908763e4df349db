"""Catalogue, loading, architectures (which matrices a model has, and their roles), clones, packed folders."""

from reparam_core.models.catalogue import ENTRIES
from reparam_core.models.fit import Fit, fit
from reparam_core.models.inspection import inspect
from reparam_core.models.loading import load, loaded
from reparam_core.models.model import Matrix, Model
from reparam_core.models.packed import packed_bytes, write_packed

__all__ = ["ENTRIES", "Fit", "Matrix", "Model", "fit", "inspect", "load", "loaded", "packed_bytes", "write_packed"]
