"""Singular values, and what they say about rank."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from wcmatch import fnmatch

from reparam_core.apply import Setting
from reparam_core.errors import ReparamError
from reparam_core.methods.settings import energy_rank

ENERGIES = (0.5, 0.9, 0.95, 0.99)


def singular_values(weight: Tensor) -> Tensor:
    """In falling order, float64."""
    return torch.linalg.svdvals(weight.double())


def stable_rank(sigma: Tensor) -> float:
    """‖W‖²_F / σ₁²: how many directions as strong as the first (Rudelson and Vershynin, 2007)."""
    return float(sigma.square().sum() / sigma[0].square()) if sigma[0] > 0 else 0.0


def entropy_rank(sigma: Tensor) -> float:
    """exp of the entropy of σᵢ / Σσ: the effective rank of Roy and Vetterli (2007)."""
    share = sigma / sigma.sum()
    return float(torch.special.entr(share).sum().exp())


def random_edge(weight: Tensor) -> float:
    """Largest singular value of a random matrix of this shape and deviation s: s (√m + √n) (Marchenko, Pastur 1967)."""
    m, n = weight.shape
    return float(weight.double().std()) * (math.sqrt(m) + math.sqrt(n))


def break_even(shape: tuple[int, int]) -> int:
    """The largest rank at which two factors hold no more numbers than the matrix: floor(mn / (m + n))."""
    return shape[0] * shape[1] // sum(shape)


def relative_error(sigma: Tensor, rank: int) -> float:
    """‖W − W_r‖_F / ‖W‖_F of the best rank-r matrix (Eckart and Young, 1936)."""
    return float(sigma[rank:].norm() / sigma.norm())


def spectrum(weight: Tensor) -> dict[str, Any]:
    """All of the above for one matrix."""
    sigma = singular_values(weight)
    return {
        "shape": list(weight.shape),
        "singular_values": sigma.tolist(),
        "stable_rank": stable_rank(sigma),
        "entropy_rank": entropy_rank(sigma),
        "rank_of_energy": {str(energy): energy_rank(sigma, energy) for energy in ENERGIES},
        "random_edge": random_edge(weight),
        "break_even": break_even((weight.shape[0], weight.shape[1])),
    }


def spectra_of(setting: Setting, where: str | None = None) -> dict[str, Any]:
    """The spectra of the matrices whose role matches (blocks without `where`), before and, where changed, after."""
    roles = [role for role, one in setting.model.matrices.items() if _matches(role, where, one.compressed_by_default)]
    if not roles:
        raise ReparamError(f"No matrix matches '{where}'.", f"Roles look like {next(iter(setting.model.matrices))}.")
    found = []
    for role in roles:
        after = spectrum(setting.forms[role].dense()) if role in setting.forms else None
        found.append({"role": role, **spectrum(setting.model.weight(role)), "after": after})
    return {"model": setting.model.name, "recipe": setting.recipe.as_json(), "matrices": found}


def _matches(role: str, where: str | None, by_default: bool) -> bool:
    return by_default if where is None else bool(fnmatch.fnmatch(role, where, flags=fnmatch.BRACE | fnmatch.CASE))
