"""Singular values, and what they say about rank."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reparam_core.apply import Setting
from reparam_core.errors import ReparamError, quoted
from reparam_core.methods.settings import energy_rank
from reparam_core.models import Model
from reparam_core.recipes import Recipe, roles_told

ENERGIES = (0.5, 0.9, 0.95, 0.99)
TALL = 4  # times as long as wide: from there on the Gram matrix is much the cheaper way
ROWS = 4096  # of a tall matrix that are in float64 at once
ANGLES = 4096  # steps of an integral


def singular_values(weight: Tensor) -> Tensor:
    """In falling order, float64; of a long matrix by its small Gram matrix, exact to 3·10⁻⁸ of the first."""
    long, short = max(weight.shape), min(weight.shape)
    if long < TALL * short:
        return torch.linalg.svdvals(weight.double())
    tall = weight if weight.shape[0] == long else weight.T
    gram = torch.zeros(short, short, dtype=torch.float64)
    for rows in tall.split(ROWS):
        part = rows.double()
        gram.addmm_(part.T, part)
    return torch.linalg.eigvalsh(gram).clamp(min=0).flip(0).sqrt()


def stable_rank(sigma: Tensor) -> float:
    """‖W‖²_F / σ₁²: how many directions as strong as the first (Rudelson and Vershynin, 2007)."""
    return float(sigma.square().sum() / sigma[0].square()) if sigma[0] > 0 else 0.0


def entropy_rank(sigma: Tensor) -> float:
    """exp of the entropy of σᵢ / Σσ: the effective rank of Roy and Vetterli (2007)."""
    if sigma[0] <= 0:
        return 0.0
    share = sigma / sigma.sum()
    return float(torch.special.entr(share).sum().exp())


def deviation(sigma: Tensor, shape: tuple[int, int]) -> float:
    """Root mean square of the matrix's numbers, from Σσ² = ‖W‖²."""
    return float(sigma.norm()) / math.sqrt(shape[0] * shape[1])


def random_edge(sigma: Tensor, shape: tuple[int, int]) -> float:
    """Where the singular values of a random matrix of this shape and deviation s end: s (√m + √n) (Marchenko, Pastur 1967)."""
    return deviation(sigma, shape) * (math.sqrt(shape[0]) + math.sqrt(shape[1]))


def random_spectrum(sigma: Tensor, shape: tuple[int, int]) -> NDArray[np.float64]:
    """The singular values that such a random matrix would have, in falling order: quantiles of the Marchenko–Pastur law.

    With σ² = s² long (1 + β + 2√β cos θ), β = short / long, the law's density in θ is ∝ sin²θ / (1 + β + 2√β cos θ).
    """
    short, long = min(shape), max(shape)
    beta, theta = short / long, np.linspace(0, math.pi, ANGLES)
    level = np.maximum(1 + beta + 2 * math.sqrt(beta) * np.cos(theta), 1e-12)
    density = np.sin(theta) ** 2 / level
    share = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    at = np.interp((np.arange(short) + 0.5) / short, share / share[-1], theta)
    return deviation(sigma, shape) * np.sqrt(long * np.maximum(1 + beta + 2 * math.sqrt(beta) * np.cos(at), 0))


def break_even(shape: tuple[int, int]) -> int:
    """The largest rank at which two factors hold no more numbers than the matrix: floor(mn / (m + n))."""
    return shape[0] * shape[1] // sum(shape)


def numbers_kept(shape: tuple[int, int], rank: int) -> float:
    """Numbers of both factors against the matrix's: r (m + n) / mn."""
    return rank * sum(shape) / (shape[0] * shape[1])


def energy_kept(sigma: Tensor, rank: int) -> float:
    """Share of Σσ² in the first `rank` singular values."""
    return 1 - relative_error(sigma, rank) ** 2


def relative_error(sigma: Tensor, rank: int) -> float:
    """‖W − W_r‖_F / ‖W‖_F of the best rank-r matrix (Eckart and Young, 1936)."""
    total = float(sigma.norm())
    return float(sigma[rank:].norm()) / total if total > 0 else 0.0


def convergence_rate(sigma: Tensor, rank: int) -> float:
    """(σᵣ₊₁ / σᵣ)⁴: by how much a round of alternating least squares shrinks the excess loss in the long run.

    A round multiplies span(V) by WᵀW, which is subspace iteration; the excess is quadratic in the remaining angle.
    """
    return float((sigma[rank] / sigma[rank - 1]) ** 4) if rank < len(sigma) and sigma[rank - 1] > 0 else 0.0


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of one matrix, and what they say."""

    shape: tuple[int, int]
    sigma: Tensor  # float64, in falling order

    @property
    def full(self) -> int:
        """The full rank, min(m, n)."""
        return len(self.sigma)

    @property
    def break_even(self) -> int:
        """The largest rank that holds no more numbers than the matrix; 1 where no rank does."""
        return max(1, break_even(self.shape))

    @cached_property
    def edge(self) -> float:
        """Where a random matrix of this shape and deviation would end."""
        return random_edge(self.sigma, self.shape)

    @cached_property
    def above_edge(self) -> int:
        """How many directions a random matrix would not have."""
        return int((self.sigma > self.edge).sum())

    @cached_property
    def stable(self) -> float:
        """Stable rank."""
        return stable_rank(self.sigma)

    @cached_property
    def entropy(self) -> float:
        """Entropy rank."""
        return entropy_rank(self.sigma)

    def energy(self, rank: int) -> float:
        """Share of the energy in the first `rank`."""
        return energy_kept(self.sigma, rank)

    def error(self, rank: int) -> float:
        """Relative error of the best matrix of that rank."""
        return relative_error(self.sigma, rank)

    def numbers(self, rank: int) -> float:
        """Numbers of both factors against the matrix's."""
        return numbers_kept(self.shape, rank)

    def rank_of(self, energy: float) -> int:
        """The least rank that holds this share of the energy."""
        return energy_rank(self.sigma, energy)


@dataclass(frozen=True)
class Quantity:
    """One number a matrix: what a map over layers and kinds shows."""

    name: str
    meaning: str
    of: Callable[[Spectrum], float]
    share: bool = True  # between 0 and 1; else a ratio, of which 1 is the middle


QUANTITIES = {
    one.name: one
    for one in (
        Quantity("entropy rank", "exp of the entropy of the singular values, as a share of full rank",
                 lambda found: found.entropy / found.full),
        Quantity("stable rank", "‖W‖² / σ₁², as a share of full rank: how many directions are as strong as the first",
                 lambda found: found.stable / found.full),
        Quantity("rank of 90 % energy", "the least rank that holds 90 % of Σσ², as a share of full rank",
                 lambda found: found.rank_of(0.90) / found.full),
        Quantity("rank of 99 % energy", "the least rank that holds 99 % of Σσ², as a share of full rank",
                 lambda found: found.rank_of(0.99) / found.full),
        Quantity("numbers at 90 % energy", "both factors' numbers at that rank, against the matrix's: above 1 they are a loss",
                 lambda found: found.numbers(found.rank_of(0.90)), share=False),
        Quantity("above the random edge", "directions stronger than any of a random matrix, as a share of full rank",
                 lambda found: found.above_edge / found.full),
    )
}  # fmt: skip


def kind_and_layer(role: str) -> tuple[str, int | None]:
    """`attention.q` and 3 of `layers.3.attention.q`; a role outside the layers is its own kind."""
    found = re.fullmatch(r"(?P<stack>(?:\w+\.)?)layers\.(?P<layer>\d+)\.(?P<kind>.+)", role)
    return (found["stack"] + found["kind"], int(found["layer"])) if found else (role, None)


def by_kind(roles: Iterable[str]) -> dict[str, dict[int | None, str]]:
    """kind → layer → role, in the order given."""
    kinds: dict[str, dict[int | None, str]] = {}
    for role in roles:
        kind, layer = kind_and_layer(role)
        kinds.setdefault(kind, {})[layer] = role
    return kinds


def layered(roles: Iterable[str]) -> tuple[list[list[str]], list[str], list[int]]:
    """The roles of the layers as a table over kinds × layers ("" where there is no matrix), its kinds and its layers."""
    kinds = {kind: layers for kind, layers in by_kind(roles).items() if None not in layers}
    every = sorted({layer for layers in kinds.values() for layer in layers if layer is not None})
    return [[layers.get(layer, "") for layer in every] for layers in kinds.values()], list(kinds), every


def spectrum(weight: Tensor) -> dict[str, Any]:
    """All of the above for one matrix, as plain numbers."""
    found = Spectrum((weight.shape[0], weight.shape[1]), singular_values(weight))
    return {
        "shape": list(found.shape),
        "singular_values": found.sigma.tolist(),
        "stable_rank": found.stable,
        "entropy_rank": found.entropy,
        "rank_of_energy": {str(energy): found.rank_of(energy) for energy in ENERGIES},
        "random_edge": found.edge,
        "break_even": break_even(found.shape),
    }


def roles_where(model: Model, where: str | None = None) -> list[str]:
    """The matrices whose role matches, those of the blocks without `where`. Raises ReparamError where none does."""
    (meant,) = Recipe.parse({"rules": [{"where": where}]}).rules  # a glob means here what it means in a recipe
    roles = [role for role, one in model.matrices.items() if meant.matches(role, one.compressed_by_default)]
    if not roles:
        raise ReparamError(f"No matrix matches {quoted(where)}.", roles_told(model.matrices))
    return roles


def spectra_of(setting: Setting, where: str | None = None) -> dict[str, Any]:
    """The spectra of the matrices whose role matches (blocks without `where`), before and, where changed, after."""
    found = []
    for role in roles_where(setting.model, where):
        after = spectrum(setting.forms[role].dense()) if role in setting.forms else None
        found.append({"role": role, **spectrum(setting.model.weight(role)), "after": after})
    return {"model": setting.model.name, "recipe": setting.recipe.as_json(), "matrices": found}
