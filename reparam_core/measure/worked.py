"""A setting in the numbers of one matrix: what stands in a formula's place once its letters are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reparam_core.measure.spectra import break_even, numbers_kept
from reparam_core.methods.settings import BitsSetting, RankSetting, Setting, SparsitySetting
from reparam_core.models import Model
from reparam_core.parametrizations.quantized import grid_shape, group_columns
from reparam_core.recipes import Rule

Shape = tuple[int, int]


def first_matrix(model: Model, where: str | None) -> tuple[str, Shape] | None:
    """The first matrix that a rule for these places covers, with its shape; None where it covers none."""
    rule = Rule(where=where)
    found = (role for role, one in model.matrices.items() if rule.matches(role, one.compressed_by_default))
    return next(((role, model.matrices[role].shape) for role in found), None)


def worked(shape: Shape, setting: Setting) -> str:
    """`r = 64 (break-even 128): r(m + n) = 32,768 of mn = 65,536 numbers`, for a matrix m × n."""
    return WORKED[type(setting)](shape, setting)


def _rank(shape: Shape, setting: RankSetting) -> str:
    even = f"break-even r = {break_even(shape):,}"
    if setting.energy is not None:
        return f"r the least with {100 * setting.energy:g} % of Σσ²; {even}"
    r = setting.resolve(shape)
    return f"r = {r:,}, r(m + n) = {r * sum(shape):,} numbers, {numbers_kept(shape, r):.2f} of mn; {even}"


def _sparsity(shape: Shape, setting: SparsitySetting) -> str:
    count = shape[0] * shape[1]
    share = share_of_zeros(setting)
    if share is None:
        return f"t = {setting.threshold:g} for {count:,} numbers"
    return (
        f"{int(share * count):,} of mn = {count:,} numbers are zero, {int(share * shape[1]):,} of a row's {shape[1]:,}"
    )


def _bits(shape: Shape, setting: BitsSetting) -> str:
    rows, groups = grid_shape(shape, setting.group)
    codes = -(-shape[0] * shape[1] * setting.bits // 8)
    group = group_columns(shape, setting.group) * (shape[0] // rows)
    return (f"b = {setting.bits}: up to 2ᵇ = {2**setting.bits} codes, {codes:,} bytes at most, and {rows * groups:,} grids of "
            f"{group:,} numbers each; {2 * shape[0] * shape[1]:,} bytes as float16")  # fmt: skip


def share_of_zeros(setting: SparsitySetting) -> float | None:
    """Of a matrix; None where a threshold on its weights says how many."""
    if setting.kept_of is not None:
        return 1 - setting.kept_of[0] / setting.kept_of[1]
    return setting.fraction


WORKED: dict[type[Setting], Callable[[Shape, Any], str]] = {
    RankSetting: _rank, SparsitySetting: _sparsity, BitsSetting: _bits}  # fmt: skip
