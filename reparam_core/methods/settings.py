"""The positions of the three sliders: frozen, validated, and all that `at` reads beside what was prepared."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Final, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from torch import Tensor

from reparam_core.errors import ReparamError

WIDEST_PATTERN = 32
WIDEST_BLOCK = 128  # a square of it
UNROUNDED: Final = 16  # bits of what a method that could round it leaves as it is
Fraction = Annotated[float, Field(gt=0, le=1)]


class Setting(BaseModel, ABC):
    """A validated, hashable slider position."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    choices: ClassVar[tuple[str, ...]] = ()  # fields of which exactly one is given

    @model_validator(mode="after")
    def _exactly_one(self) -> Setting:
        given = [name for name in self.choices if getattr(self, name) is not None]
        if self.choices and len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(self.choices)}; got {', '.join(given) or 'none'}")
        return self

    @abstractmethod
    def short(self) -> str:
        """As in a recipe's short form, after the colon."""

    @abstractmethod
    def told(self) -> str:
        """In words, as a sentence has it after `at`."""

    def refuse(self, shape: tuple[int, int]) -> None:
        """Raises ReparamError where it does not fit a matrix of this shape, as far as the shape tells."""

    def parts(self, shape: tuple[int, int]) -> list[tuple[int, int]]:
        """Shapes of what the next step works on, as far as this one tells."""
        return [shape]

    def given(self) -> dict[str, Any]:
        """The fields that were set, as a recipe writes them."""
        return self.model_dump(exclude_none=True, exclude_defaults=True)


class RankSetting(Setting):
    """How much rank stays."""

    choices = ("keep", "rank", "parameters", "energy")
    keep: Fraction | None = None  # fraction of min(m, n)
    rank: Annotated[int, Field(ge=1)] | None = None
    parameters: Annotated[float, Field(gt=0)] | None = None  # fraction of m·n that both factors may hold
    energy: Fraction | None = None  # least rank with this share of Σσ²

    def resolve(self, shape: tuple[int, int], singular_values: Tensor | None = None) -> int:
        """The rank for a matrix of this shape. Raises ReparamError above full rank."""
        full = min(shape)
        wanted = self._wanted(shape, singular_values)
        if wanted > full:
            raise ReparamError(f"Rank {wanted} is above the full rank {full} of a {shape[0]} × {shape[1]} matrix.",
                               f"Ask for at most {full}.")  # fmt: skip
        return max(1, wanted)

    def refuse(self, shape: tuple[int, int]) -> None:
        if self.energy is None:  # of which every matrix has some rank
            self.resolve(shape)

    def parts(self, shape: tuple[int, int]) -> list[tuple[int, int]]:
        if self.energy is not None:
            return []
        r = self.resolve(shape)
        return [(shape[0], r), (r, shape[1])]

    def _wanted(self, shape: tuple[int, int], singular_values: Tensor | None) -> int:
        if self.keep is not None:
            return math.floor(self.keep * min(shape))
        if self.rank is not None:
            return self.rank
        if self.parameters is not None:
            return min(min(shape), math.floor(self.parameters * shape[0] * shape[1] / sum(shape)))
        if singular_values is None:
            raise ReparamError("This method does not know the singular values.", "Ask for a rank or a fraction.")
        return energy_rank(singular_values, float(self.energy or 1))

    def short(self) -> str:
        """As in `svd:…`."""
        if self.keep is not None:
            return plain(self.keep)
        if self.rank is not None:
            return f"r{self.rank}"
        return f"{plain(self.parameters)}p" if self.parameters is not None else f"e{plain(self.energy or 1)}"

    def told(self) -> str:
        """`50 % of full rank`."""
        if self.rank is not None:
            return f"rank {self.rank}"
        for value, what in ((self.keep, "full rank"), (self.parameters, "the numbers"), (self.energy, "the energy")):
            if value is not None:
                return f"{100 * value:g} % of {what}"
        return ""


class SparsitySetting(Setting):
    """How much is zeroed."""

    choices = ("fraction", "threshold", "pattern")
    fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    threshold: Annotated[float, Field(ge=0)] | None = None  # zero where |w| is below it
    pattern: Annotated[str, Field(pattern=r"^[1-9]\d*:[1-9]\d*$")] | None = None  # `2:4`: two of every four kept
    block: Annotated[int, Field(ge=2, le=WIDEST_BLOCK)] | None = None  # the fraction is of squares of that side

    @field_validator("pattern")
    @classmethod
    def _keeps_fewer(cls, pattern: str | None) -> str | None:
        kept, of = map(int, (pattern or "1:2").split(":"))
        if kept >= of or of > WIDEST_PATTERN:
            raise ValueError(f"keeps fewer of a group than it has, and a group has {WIDEST_PATTERN} at most")
        return pattern

    @model_validator(mode="after")
    def _a_share_of_blocks(self) -> SparsitySetting:
        if self.block is not None and self.fraction is None:
            raise ValueError("blocks are zeroed by a fraction, as in 0.5b16")
        return self

    @property
    def kept_of(self) -> tuple[int, int] | None:
        """(2, 4) for `2:4`."""
        return None if self.pattern is None else (int(self.pattern.split(":")[0]), int(self.pattern.split(":")[1]))

    def refuse(self, shape: tuple[int, int]) -> None:
        kept, of = self.kept_of or (0, 1)
        if shape[1] < of:
            raise ReparamError(f"A pattern of {kept}:{of} needs rows of at least {of} numbers; these have {shape[1]}.",
                               "Leave that matrix out, or prune a share of it instead.")  # fmt: skip
        if self.block is not None and self.block > min(shape):
            raise ReparamError(f"Blocks of {self.block} × {self.block} do not fit a matrix of {shape[0]} × {shape[1]}.",
                               "Leave that matrix out, or take smaller blocks.")  # fmt: skip

    def short(self) -> str:
        """As in `magnitude:…`."""
        if self.pattern is not None:
            return self.pattern
        if self.fraction is None:
            return f"t{plain(self.threshold or 0)}"
        return plain(self.fraction) + (f"b{self.block}" if self.block else "")

    def told(self) -> str:
        """`50 % zeros`."""
        if self.pattern is not None:
            return "{} of every {} kept".format(*self.pattern.split(":"))
        if self.fraction is None:
            return f"zeros below {self.threshold:g}"
        return f"{100 * self.fraction:g} % zeros" + (f" in blocks of {self.block} × {self.block}" if self.block else "")


class BitsSetting(Setting):
    """How many bits a number takes."""

    bits: int  # of which a method says what it has a form of
    group: Annotated[int, Field(ge=1)] | Literal["tensor"] | None = None  # None: a scale a row
    symmetric: bool = False

    @field_validator("group", mode="wrap")
    @classmethod
    def _told_as_one(cls, group: Any, read: ValidatorFunctionWrapHandler) -> Any:
        """One line for a group that is neither a number nor the word; by itself a union tells what is amiss with each part."""
        try:
            return read(group)
        except ValidationError:
            raise ValueError("should be a whole number from 1 on, or 'tensor'") from None

    def short(self) -> str:
        """As in `rtn:…`."""
        group = "t" if self.group == "tensor" else "" if self.group is None else f"g{self.group}"
        return f"{self.bits}{group}{'s' if self.symmetric else ''}"

    def told(self) -> str:
        """`4 bits in groups of 64, symmetric`."""
        told = f"{self.bits} bit{'s' if self.bits > 1 else ''}"
        if self.group is None or self.group == "tensor":
            told += f", one grid a {'row' if self.group is None else 'matrix'}"
        else:
            told += f" in groups of {self.group}"
        return f"{told}, symmetric" if self.symmetric else told


SETTINGS: dict[str, type[RankSetting | SparsitySetting | BitsSetting]] = {
    "rank": RankSetting,
    "sparsity": SparsitySetting,
    "bits": BitsSetting,
}


def plain(value: float) -> str:
    """A number as short as it can be read back: `0.5`, `0.1234567`."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def energy_rank(singular_values: Tensor, energy: float) -> int:
    """The least rank that holds this share of Σσ²; singular values in falling order."""
    share = singular_values.double().square().cumsum(0)
    if energy >= 1 or share[-1] == 0:
        return len(share)
    return int(torch.searchsorted(share, energy * share[-1])) + 1
