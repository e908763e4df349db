"""What a method is and can be told beside its slider: formula, paper, the numbers of a matrix, its own fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Annotated, Any, Literal, NamedTuple, cast, get_args, get_origin, get_type_hints

import streamlit as st

from pages.components.history import (
    BLOCKS,
    CALIBRATION,
    FITTED,
    KEPT,
    ONE,
    PATTERNS,
    RANK_UNITS,
    READ,
    SAME,
    SHARE,
    SPLITS,
    STATISTICS,
    groups_of,
)
from pages.components.reference_card import reference_card
from reparam_core.apply import goes_by_blocks
from reparam_core.jobs.lasting import Reader, seconds_to_read
from reparam_core.measure.worked import on_screen
from reparam_core.methods.base import Method
from reparam_core.models import Model
from reparam_core.recipes import Calibration
from reparam_core.registry import methods, splits

GROUP = 64  # numbers under one scale, where nothing else is said
POSITIVE = 1e-6  # stands for a limit that is itself not allowed


class Fitted(NamedTuple):
    """What a menu offered, what was wanted of it, and what it showed."""

    options: list[Any]
    wanted: Any
    shown: Any


def more_of(axis: str, chosen: str, model: Model) -> dict[str, Any]:
    """What the axis and the chosen method can be told beside the slider, as a step of a recipe has it."""
    kind = methods(axis)[chosen]
    AXIS_OPTIONS[axis](kind)
    hints = get_type_hints(kind, include_extras=True)
    own = {one.name: _field(f"{axis}_{chosen}_{one.name}", one, hints[one.name]) for one in fields(kind)}
    spread = _split(axis, kind(**own), model)
    how = _statistics(axis, kind(**own), model) if kind.needs else {}
    if not kind.instant:
        st.caption(
            "It solves every setting by itself: one that is new takes a while, one that is known is there at once."
        )
    return {one.name: own[one.name] for one in fields(kind) if own[one.name] != one.default} | how | spread


def explained(axis: str, chosen: str, model: Model, where: str | None, said: Mapping[str, Any] | None) -> None:
    """The method's formula, where it is from, its letters for the first matrix that it is applied to, and its reference card.

    `said` is the step as a recipe has it; None while the slider is untouched.
    """
    kind = methods(axis)[chosen]
    st.markdown(f"**{chosen}** {kind.summary}. :gray[{paper_of(kind)}]")
    if kind.formula:
        st.latex(rf"\begin{{gathered}}{kind.formula}\end{{gathered}}")
    if told := on_screen(model, where, kind, said):
        st.caption(f"{told}.")
    reference_card(chosen)


def paper_of(kind: type[Any]) -> str:
    """The first line of the method's file, which names the paper."""
    return (inspect.getdoc(inspect.getmodule(kind)) or "").partition("\n")[0]


def _split(axis: str, method: Method, model: Model) -> dict[str, Any]:
    """How the slider's position is spread over the matrices, at the same cost in all; nothing to choose where it cannot be."""
    suited = {name for name, one in splits(axis).items() if not one.unsuited(method)}
    known = {name: told for name, told in SPLITS[axis].items() if name == SAME or name in suited}
    if len(known) == 1:
        return {}
    fit_to(list(known), f"{axis}_split")
    chosen = st.selectbox("Spread over the matrices", list(known), key=f"{axis}_split", format_func=known.__getitem__,
                          help="A setting of its own for each matrix, which together cost what the one setting would.",
                          **KEPT)  # fmt: skip
    if chosen != SAME and (formula := splits(axis)[chosen].formula):
        st.latex(rf"\begin{{gathered}}{formula}\end{{gathered}}")
    if chosen != SAME and splits(axis)[chosen].needs and not method.needs:
        say_how_long(model, splits(axis)[chosen])
    return {} if chosen == SAME else {"split": chosen}


def _statistics(axis: str, method: Method, model: Model) -> dict[str, Any]:
    """How the inputs' statistics are gathered, and how long that takes; block by block only where the method can go so."""
    known = [one for one in STATISTICS if one == "one-shot" or goes_by_blocks(method)]
    fit_to(known, f"{axis}_statistics")
    how = st.selectbox("Statistics of the inputs", known, key=f"{axis}_statistics",
                       format_func=STATISTICS.__getitem__, help="Of the untouched model, all blocks at once; or behind the "
                       "compressed blocks before each, as SparseGPT and GPTQ have it.", **KEPT)  # fmt: skip
    say_how_long(model, method, how)
    return {} if how == "one-shot" else {"statistics": how}


def say_how_long(model: Model, reader: Reader, how: str = "one-shot") -> None:
    """What it takes to find out what is needed of as much text as the calibration's controls say, and how often."""
    amount = {name: st.session_state.get(CALIBRATION + name) for name in ("text", *READ)}
    asked = Calibration(**{name: value for name, value in amount.items() if value})
    lasts = duration(seconds_to_read(model, asked, reader, how))
    often = "once" if how == "one-shot" else "for every setting that is new"
    st.caption(f"Finding out what it needs of the calibration text takes about {lasts}, {often}.")


def duration(seconds: float) -> str:
    """`40 s`, `3 min`."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def _field(key: str, field: Field[Any], hint: Any) -> Any:
    """A control for a field of a method, by its type."""
    label, default = field.name.replace("_", " ").capitalize(), cast("Any", field.default)
    plain, least, most = _plain_type(hint)
    if get_origin(plain) is Literal:
        return st.selectbox(label, get_args(plain), get_args(plain).index(default), key=key, **KEPT)
    if plain is bool:
        return st.toggle(label, default, key=key, **KEPT)
    limits = {"min_value": plain(least), "max_value": None if most is None else plain(most)}
    return st.number_input(label, value=default, key=key, format="%g" if plain is float else None, **limits, **KEPT)


def _plain_type(hint: Any) -> tuple[Any, float, float | None]:
    """A field's type without its limits, and the least and the greatest value that they allow."""
    if get_origin(hint) is not Annotated:
        return hint, 0, None
    plain, *extras = get_args(hint)
    limits = [one for extra in extras for one in getattr(extra, "metadata", ())]
    least = next((one.ge for one in limits if hasattr(one, "ge")), None)
    above = next((one.gt for one in limits if hasattr(one, "gt")), None)
    most = next((one.le for one in limits if hasattr(one, "le")), None)
    return plain, (least or 0) if above is None else above + POSITIVE, most


def _more_of_rank(_kind: type[Method]) -> None:
    st.selectbox("The slider is a share", list(RANK_UNITS), key="rank_unit", format_func=lambda one: RANK_UNITS[one],
                 help="Of min(m, n); of mn, so that both factors hold that many; or of Σσ².", **KEPT)  # fmt: skip


def _more_of_sparsity(kind: type[Method]) -> None:
    st.selectbox("How many are zeroed", list(PATTERNS), key="sparsity_pattern", format_func=PATTERNS.__getitem__,
                 help="With a pattern every few neighbours in a row keep as many, and the slider rests. Hardware for "
                 f"sparse products takes 2:4. Back with “{PATTERNS[SHARE]}”.", **KEPT)  # fmt: skip
    if kind.patterns and st.session_state.get("sparsity_pattern", SHARE) == SHARE:
        st.selectbox("What is zeroed", BLOCKS, key="sparsity_block", help="Numbers one by one, or whole squares, which "
                     "products can leave out on any hardware, and which lose more at the same share.",
                     format_func=lambda side: "single numbers" if side == ONE else f"squares of {side} × {side}", **KEPT)  # fmt: skip


def _more_of_bits(kind: type[Method]) -> None:
    known = groups_of(kind)
    fit_to(known, "bits_group", GROUP)
    st.selectbox("One grid for each", known, known.index(GROUP) if GROUP in known else 0, key="bits_group",
                 help="Numbers that share a scale: so many, or all of a row or of the matrix.", **KEPT)  # fmt: skip
    if kind.symmetric:
        st.toggle("Symmetric around zero", key="bits_symmetric", help="No zero point: a scale only.", **KEPT)


def fit_to(options: Sequence[Any], key: str, usual: Any = None) -> None:
    """Before a control is drawn: what this method does not take gives way to the nearest, or the first, until one does.

    `usual` is what is wanted before anything was chosen. In a menu with other options the value is set anew, so that the
    address, which leaves out what is usual, says it where something else is usual now.
    """
    fitted: dict[str, Fitted] = st.session_state.setdefault(FITTED, {})
    value = st.session_state.get(key, usual)
    if value is None:
        return
    before = fitted.get(key, Fitted([*options], value, value))
    wanted = before.wanted if value == before.shown else value
    numbers = [one for one in options if isinstance(one, int) and isinstance(wanted, int)]
    nearest = min(numbers, key=lambda one: abs(one - wanted), default=options[0])
    fitted[key] = Fitted([*options], wanted, wanted if wanted in options else nearest)
    if fitted[key].shown != value or fitted[key].options != before.options:
        st.session_state[key] = fitted[key].shown


AXIS_OPTIONS: Mapping[str, Callable[[type[Method]], None]] = {
    "rank": _more_of_rank, "sparsity": _more_of_sparsity, "bits": _more_of_bits}  # fmt: skip
