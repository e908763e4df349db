"""Forms of a weight: each can be applied, counted and packed."""

from reparam_core.parametrizations.base import Leaf, Parametrization, unpack
from reparam_core.parametrizations.cached import Cached
from reparam_core.parametrizations.codebook import Codebook
from reparam_core.parametrizations.coded import Coded
from reparam_core.parametrizations.dense import Dense
from reparam_core.parametrizations.low_rank import LowRank
from reparam_core.parametrizations.quantized import Quantized
from reparam_core.parametrizations.scaled import Scaled
from reparam_core.parametrizations.sliced import Sliced
from reparam_core.parametrizations.sparse import Sparse
from reparam_core.parametrizations.statistics import Statistics
from reparam_core.parametrizations.sum import Sum

__all__ = [
    "Cached",
    "Codebook",
    "Coded",
    "Dense",
    "Leaf",
    "LowRank",
    "Parametrization",
    "Quantized",
    "Scaled",
    "Sliced",
    "Sparse",
    "Statistics",
    "Sum",
    "unpack",
]
