"""A setting in the numbers of a matrix m × n: what stands in a formula's place once its letters are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reparam_core.methods.settings import BitsSetting, RankSetting, Setting, SparsitySetting
from reparam_core.parametrizations.bits import packed_codes_bytes
from reparam_core.parametrizations.quantized import Group, grid_shape, group_columns

Shape = tuple[int, int]


def in_numbers(shapes: Sequence[Shape], setting: Setting) -> str:
    """Of matrices that are looked at together: what every method of the setting's axis does that says nothing else."""
    return WORKED[type(setting)](shapes, setting)


def factors(shape: Shape, setting: RankSetting) -> str:
    """`r = 64, r(m + n) = 32,768 numbers`."""
    if setting.energy is not None:
        return f"r the least with {100 * setting.energy:g} % of Σσ²"
    r = setting.resolve(shape)
    return f"r = {r:,}, r(m + n) = {r * sum(shape):,} numbers"


def zeros(gone: int, count: int, letters: str = "mn = ") -> str:
    """`480 of mn = 960 numbers are zero`."""
    return f"{gone:,} of {letters}{count:,} numbers are zero"


def squares(gone: int, count: int, side: int) -> str:
    """`3 of 12 squares of 16 × 16 are zero`."""
    return f"{gone:,} of {count:,} squares of {side} × {side} are zero"


def squares_in(shape: Shape, side: int) -> int:
    """How many squares of that side cover the matrix; the last of a row or a column may be narrower."""
    return -(-shape[0] // side) * -(-shape[1] // side)


def coded(shape: Shape, levels: int, group: Group, each: str) -> str:
    """`16 codes, 165,888 bytes at most, and 5,184 scales, each for 64 numbers; 663,552 bytes as float16`."""
    rows, groups = grid_shape(shape, group)
    size = group_columns(shape, group) * (shape[0] // rows)
    at_most = " at most" if shape[1] % group_columns(shape, group) else ""
    count = shape[0] * shape[1]
    return (f"{levels} codes, {packed_codes_bytes(count, levels):,} bytes at most, and {rows * groups:,} {each}, each for "
            f"{size:,} numbers{at_most}; {2 * count:,} bytes as float16")  # fmt: skip


def outside(shape: Shape, kept: int, of: int) -> int:
    """How many numbers a pattern takes; a ragged last group of a row keeps as many, where it has them."""
    whole, ragged = divmod(shape[1], of)
    return shape[0] * (whole * (of - kept) + max(0, ragged - kept))


def _rank(shapes: Sequence[Shape], setting: RankSetting) -> str:
    (shape,) = shapes
    count, even = shape[0] * shape[1], f"break-even r = {shape[0] * shape[1] // sum(shape):,}"
    if setting.energy is not None:
        return f"{factors(shape, setting)}; {even}"
    return f"{factors(shape, setting)}, {setting.resolve(shape) * sum(shape) / count:.2f} of mn; {even}"


def _sparsity(shapes: Sequence[Shape], setting: SparsitySetting) -> str:
    count, letters = sum(rows * columns for rows, columns in shapes), "mn = " if len(shapes) == 1 else ""
    if setting.kept_of is not None:
        return zeros(sum(outside(shape, *setting.kept_of) for shape in shapes), count, letters)
    if setting.fraction is None:
        return f"t = {setting.threshold:g} for {count:,} numbers"
    if setting.block is None:
        return zeros(int(setting.fraction * count), count, letters)
    found = [squares_in(shape, setting.block) for shape in shapes]
    return squares(sum(int(setting.fraction * one) for one in found), sum(found), setting.block)


def _bits(shapes: Sequence[Shape], setting: BitsSetting) -> str:
    (shape,) = shapes
    return f"b = {setting.bits}: up to 2ᵇ = {coded(shape, 2**setting.bits, setting.group, 'grids')}"


WORKED: dict[type[Setting], Callable[[Sequence[Shape], Any], str]] = {
    RankSetting: _rank, SparsitySetting: _sparsity, BitsSetting: _bits}  # fmt: skip
