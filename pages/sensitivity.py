"""Sensitivity: what compressing each matrix alone costs, and recipes that follow from it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.address import read_address, say_misread
from pages.components.calibration import amount_of, pick_calibration
from pages.components.controls import pick_model, pick_sources, take_own_source
from pages.components.errors import show_error
from pages.components.history import AS_IS, KEPT, REWRITE, ROW, groups_of, of_a_recipe
from pages.components.live import ask, ask_score, failed, live
from pages.components.matrix import pick_matrix
from pages.components.sensitivity_views import View, charts, estimating, proposals, sentence
from reparam_core import ReparamError
from reparam_core.jobs import measured, sensed
from reparam_core.jobs.sensitivity import LENGTH, SEQUENCES
from reparam_core.measure.sensitivity import FEW, suited
from reparam_core.models import Model
from reparam_core.recipes import Calibration, Recipe, Step
from reparam_core.registry import AXES, methods

MEANING = (
    r"Each cell: the loss that compressing this one matrix adds, in nats an answer (a token; a classifier's: a sentence). The estimate is "
    r"$\tfrac12\sum_o\frac{F_o}{\operatorname{tr}G}\,\delta_o G\,\delta_o^\top$ with the change $\delta_o$ of row $o$, the Gram "
    r"matrix $G$ of its inputs and the Fisher information $F_o$ of the row, from one backward pass a sequence: "
    f"{SEQUENCES} sequences of {LENGTH} tokens of the calibration text at most, as a pass is dear; the rest is for calibrated methods. "
    f"Cells are then measured one by one, this setting's first, largest estimate first; a dot marks them. From {FEW} measured cells on "
    "estimates are multiplied by what these have: the sum of their measurements over the sum of their estimates (before, by what all "
    "matrices together were measured to add over the sum of this setting's estimates); and the next cell is the one that may be "
    "farthest off, by how far apart the two lay for its kind of matrix."
)
DEFAULTS = {"rank": "svd", "sparsity": "magnitude", "bits": "rtn"}
SPANS = {"rank": (5, 95, 50, "% of full rank"), "sparsity": (5, 95, 50, "% zeros")}
EVERY = 1.5  # seconds from one drawing to the next: cells come one by one


def pick_axis() -> str:
    """What each matrix alone is made smaller by."""
    return st.segmented_control("Axis", AXES, default="bits", required=True, key="sensed_axis",
                                label_visibility="collapsed", **KEPT) or "bits"  # fmt: skip


def pick_step(axis: str, how: DeltaGenerator, at: DeltaGenerator, group: Sequence[DeltaGenerator]) -> Step:
    """Method and setting: how each matrix is compressed. Only bits have a group."""
    known = {name: kind for name, kind in methods(axis).items() if suited(kind)}
    method = how.selectbox("Method", list(known), list(known).index(DEFAULTS[axis]), key=f"sensed_{axis}_method",
                           help="; ".join(f"{name} {one.summary}" for name, one in known.items()), **KEPT)  # fmt: skip
    with at:
        setting = _share(axis) if axis in SPANS else _bits(known[method].widths)
    for place in group:
        with place:
            setting |= _group(groups_of(known[method]))
    return Step.parse(axis, {"method": method, **setting})


def _share(axis: str) -> dict[str, Any]:
    low, high, usual, unit = SPANS[axis]
    found = st.slider(f"{axis.capitalize()}, {unit}", low, high, usual, key=f"sensed_{axis}",
                      help="The map shows this setting; the curve of a matrix others beside it.", **KEPT)  # fmt: skip
    return {"keep" if axis == "rank" else "fraction": found / 100}


def _bits(widths: tuple[int, ...]) -> dict[str, Any]:
    if len(widths) == 1:
        st.caption(f"This method has one width: {widths[0]} bits.")
        return {"bits": widths[0]}
    if st.session_state.get("sensed_bits") not in (None, *widths):
        del st.session_state["sensed_bits"]
    usual = 3 if 3 in widths else widths[0]
    return {"bits": int(st.select_slider("Bits", widths, usual, key="sensed_bits",
                                         help="The map shows this width; the curve of a matrix others beside it.", **KEPT))}  # fmt: skip


def _group(groups: list[Any]) -> dict[str, Any]:
    if len(groups) < 2:
        return {} if not groups or groups[0] == ROW else {"group": groups[0]}
    if st.session_state.get("sensed_group") not in (None, *groups):
        del st.session_state["sensed_group"]
    usual = groups.index(64) if 64 in groups else 0
    found = st.selectbox("Group", groups, usual, key="sensed_group", help="Numbers that share a grid.", **KEPT)
    return {} if found == ROW else {"group": found}


def look(model: Model, step: Step, text: Calibration, sources: list[str], role: str, spared: int) -> View:
    """The jobs: all estimates; then what follows from them, measured: the proposals, this matrix, every cell."""
    wanted = (model.name, step, text)
    estimates = ask("sensed", wanted, lambda: sensed(model, step, text))
    view = View(model, step, text, sources[:1], role, spared, estimates)
    if estimates.pending or estimates.error is not None or not sources:
        return view
    source = sources[0]
    view.proposed.update({name: ask_score(f"joint-{index}", model, recipe, [source])
                          for index, (name, recipe) in enumerate(view.recipes.items())})  # fmt: skip
    view.cells.append(ask("matrix", (*wanted, source, role), lambda: measured(model, step, text, source, role)))
    view.cells.append(ask("cells", (*wanted, source), lambda: measured(model, step, text, source), "background"))
    return view


def say(view: View) -> None:
    """The sentence, with what the figures mean behind its question mark."""
    st.markdown(f"#### {sentence(view)}", help=MEANING)


def rewritten() -> str:
    """The rewrite of the setting in force on other pages, or of the link by which one came; empty where there is none."""
    in_force, linked = st.session_state.get("in_force"), st.session_state["address"].get(REWRITE, [])
    names = [one.short() for one in Recipe.parse(in_force).transform] if in_force else linked
    return " + ".join(one for one in names if one != AS_IS)


@contextmanager
def recipe_for_other_pages() -> Iterator[None]:
    """What a link says of the recipe is for the pages that have its controls: judged there, and not unknown here."""
    unheard: dict[str, list[str]] = st.session_state["unheard"]
    held = {key: unheard.pop(key) for key in filter(of_a_recipe, list(unheard))}
    yield
    unheard |= held


def say_what_is_read(model: Model, text: Calibration) -> None:
    """Of a long calibration text the estimates read a part."""
    if text.sequences > SEQUENCES or text.length > LENGTH:
        less = {"sequences": min(SEQUENCES, text.sequences), "length": min(LENGTH, text.length)}
        count, length = amount_of(model, text.model_copy(update=less))
        st.sidebar.caption(f"The estimates read {count} × {length} tokens of it.")


def page() -> None:
    """Controls → jobs → map, proposals, charts."""
    read_address()
    take_own_source()
    title, which = st.columns([2, 8], vertical_alignment="center")
    title.title("Sensitivity")
    told = st.container()
    model = pick_model()
    sources = pick_sources(model)
    text = Calibration(**pick_calibration(model))
    say_what_is_read(model, text)
    roles = [role for role, one in model.matrices.items() if one.compressed_by_default]
    with which:
        axis = pick_axis()
    matrix, how, at, *group, worst = st.columns(
        [10, 5, 5, 3, 4] if axis == "bits" else [10, 5, 8, 4], vertical_alignment="bottom"
    )
    with matrix:
        role = pick_matrix(model, roles)
    spared = worst.number_input("Protect the worst", 1, max(1, len(roles) - 1), min(4, max(1, len(roles) - 1)), key="sensed_spared",
                                help="How many matrices the middle recipe leaves alone.", **KEPT)  # fmt: skip
    step = pick_step(axis, how, at, group)
    if rewrite := rewritten():
        st.caption(f":material/info: The setting's rewrite ({rewrite}) is left out here: every matrix is compressed as the model "
                   "has it, and the recipes below are without it.")  # fmt: skip
    with told, recipe_for_other_pages():
        say_misread()
    view = look(model, step, text, sources, role, int(spared))
    named = (("sensed", view.estimates), *((f"joint-{index}", one) for index, one in enumerate(view.proposed.values())),
             *zip(("matrix", "cells"), view.cells, strict=False))  # fmt: skip
    for name, ticket in named:
        if failed(name, ticket):
            break
    if view.estimates.pending:
        live(lambda: estimating(view), view.estimates, every=0.5)
    elif view.estimates.error is None:
        live(lambda: say(view), *view.tickets, every=EVERY)
        charts(view, EVERY, lambda: live(lambda: proposals(view), *view.tickets, every=EVERY))


try:
    page()
except ReparamError as error:
    show_error(error)
