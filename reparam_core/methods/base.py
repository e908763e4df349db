"""What every method promises: a dear `prepare`, cached by content, and a cheap `at` for every slider position."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.settings import Setting
from reparam_core.methods.worked import Shape, in_numbers
from reparam_core.parametrizations import Leaf, Parametrization, Statistics

Prepared = dict[str, Tensor]
Unit = Literal["matrix", "layer", "model"]
SEPARATOR = "\n"  # between a role and the path of a leaf in its form


@dataclass(frozen=True)
class Method(ABC):
    """Frozen and hashable; its fields are all that it reads beside the weights, so they are the cache's key."""

    name: ClassVar[str]
    axis: ClassVar[str]
    summary: ClassVar[str]  # what it does, in about six words
    formula: ClassVar[str] = ""  # lines of LaTeX: W is (out, in), X its inputs, a column a token
    instant: ClassVar[bool] = True  # False where `at` iterates for every setting
    caches: ClassVar[bool] = True  # False where `prepare` has nothing to keep
    reads_weight: ClassVar[bool] = True  # False where `prepare` reads the statistics alone
    prepared_by: ClassVar[frozenset[str] | None] = None  # the fields that `prepare` reads; None: all of them
    widths: ClassVar[tuple[int, ...]] = tuple(range(2, 9))  # bits that a method of the bits axis can take
    groups: ClassVar[tuple[int | str | None, ...] | None] = None  # that it can be told; None: any
    symmetric: ClassVar[bool] = False  # does a method of the bits axis have grids without a zero point?
    patterns: ClassVar[bool] = True  # does a method of the sparsity axis take 2:4 and the like?
    singular_values: ClassVar[bool] = False  # does a method of the rank axis prepare them all, as `sigma`?
    removes: ClassVar[str] = ""  # whole units that it takes away, before any other step, in words: attention heads
    needs: ClassVar[frozenset[str]] = frozenset()  # what it reads of its inputs: gram, mean, range, gradients, losses
    takes: ClassVar[str] = ""  # in words, where that is not any one matrix of two dimensions

    @property
    def unit(self) -> Unit:
        """Which matrices one setting is spread over."""
        return "matrix"

    def block(self, role: str) -> str | None:
        """What goes together with this matrix, by name: all of it or nothing is given; None where it is left alone."""
        return role

    def left_out(self, block: Mapping[str, Leaf]) -> dict[str, int]:
        """What a method that needs losses has measured without: matrices whose columns are so many units, run by run.

        A unit has its run of columns in each of them; once they are zero it is gone. Of the leaves only shapes are there.
        """
        return {}

    @abstractmethod
    def prepare(self, leaves: Mapping[str, Leaf]) -> Prepared:
        """The dear part, once for a unit's matrices."""

    @abstractmethod
    def at(self, prepared: Prepared, leaves: Mapping[str, Leaf], setting: Any) -> dict[str, Parametrization]:
        """The cheap cut at one setting, for each of the unit's matrices."""

    def refuse(self, setting: Any, shape: tuple[int, int]) -> None:
        """Raises ReparamError where the setting is none for a matrix (out, in): asked before any number is touched."""
        setting.refuse(shape)

    def worked(self, leaves: Mapping[str, Leaf], setting: Any) -> str:
        """The setting in the numbers of what is looked at together; of the leaves only shapes are there.

        Raises ReparamError where the setting is none for them.
        """
        return in_numbers([shape_of(leaf) for leaf in leaves.values()], setting)

    def identity(self) -> dict[str, Any]:
        """What distinguishes this instance: name and fields, as plain JSON."""
        return {"method": self.name} | asdict(self)

    def identity_prepared(self) -> dict[str, Any]:
        """What distinguishes what this instance prepares: name and the fields that `prepare` reads, as plain JSON."""
        known = self.prepared_by
        return {name: value for name, value in self.identity().items() if known is None or name in known | {"method"}}


def role_of(name: str) -> str:
    """The role of the matrix that a leaf of this name is in."""
    return name.partition(SEPARATOR)[0]


def shape_of(leaf: Leaf) -> Shape:
    """Its rows and columns, (out, in)."""
    return leaf.weight.shape[0], leaf.weight.shape[1]


class _OneMatrix(Method):
    """A method that looks at one matrix at a time."""

    @abstractmethod
    def at_matrix(self, prepared: Prepared, leaf: Leaf, setting: Any) -> Parametrization:
        """The matrix at one setting."""

    def at(self, prepared: Prepared, leaves: Mapping[str, Leaf], setting: Setting) -> dict[str, Parametrization]:
        ((role, leaf),) = leaves.items()
        self.refuse(setting, shape_of(leaf))
        return {role: self.at_matrix(prepared, leaf, setting)}


class MatrixMethod(_OneMatrix):
    """Looks at one matrix alone: most files see plain tensors."""

    @abstractmethod
    def prepare_matrix(self, weight: Tensor) -> Prepared:
        """The dear part for a matrix (out, in)."""

    def prepare(self, leaves: Mapping[str, Leaf]) -> Prepared:
        (leaf,) = leaves.values()
        return self.prepare_matrix(finite(leaf.weight.float()))


class CalibratedMethod(_OneMatrix):
    """Looks at one matrix and at the statistics of its inputs."""

    needs: ClassVar[frozenset[str]] = frozenset({"gram"})

    @abstractmethod
    def prepare_matrix(self, weight: Tensor, statistics: Statistics) -> Prepared:
        """The dear part for a matrix (out, in)."""

    def prepare(self, leaves: Mapping[str, Leaf]) -> Prepared:
        (leaf,) = leaves.values()
        return self.prepare_matrix(finite(leaf.weight.float()), statistics_of(leaf))


class OfInputsMethod(_OneMatrix):
    """Looks at one matrix, prepared for by the statistics of its inputs alone: those with the same inputs share that."""

    needs: ClassVar[frozenset[str]] = frozenset({"gram"})
    reads_weight: ClassVar[bool] = False

    @abstractmethod
    def prepare_inputs(self, statistics: Statistics) -> Prepared:
        """The dear part for all matrices with these inputs."""

    def prepare(self, leaves: Mapping[str, Leaf]) -> Prepared:
        (leaf,) = leaves.values()
        return self.prepare_inputs(statistics_of(leaf))

    def at(self, prepared: Prepared, leaves: Mapping[str, Leaf], setting: Setting) -> dict[str, Parametrization]:
        for leaf in leaves.values():
            finite(leaf.weight)
        return super().at(prepared, leaves, setting)


def finite(weight: Tensor) -> Tensor:
    """The weight. Raises ReparamError where it holds a number that is not finite: a sum is not, then, and is quick."""
    if not math.isfinite(weight.sum()):
        raise ReparamError("The matrix holds numbers that are not finite.", "Fetch the model again, or leave it out.")
    return weight


def statistics_of(leaf: Leaf) -> Statistics:
    """Of the leaf's inputs. Raises ReparamError where none were gathered, or where they are not finite."""
    if leaf.statistics is None:
        raise ReparamError("This step needs the statistics of a matrix's inputs.", "Give calibration text.")
    if not math.isfinite(leaf.statistics.gram.sum(dtype=torch.float64)):
        raise ReparamError(
            "The calibration text drives this model to numbers that are not finite.", "Take another text."
        )
    return leaf.statistics
