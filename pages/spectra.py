"""Spectra: singular values of any matrix or of all, where to cut, and what the cut costs."""

from collections.abc import Callable
from functools import partial

import streamlit as st
from plotly.graph_objects import Figure

from pages.components.address import read_address, say_misread
from pages.components.charts import live_saved
from pages.components.controls import pick_model, pick_recipe, pick_sources, take_own_source
from pages.components.errors import show_error
from pages.components.history import KEPT, load_recipe, undo_and_redo
from pages.components.live import ask, ask_score, failed
from pages.components.matrix import pick_matrix
from pages.components.spectra_views import View, all_layers, alternating, one_matrix, sentence
from reparam_core import ReparamError
from reparam_core.jobs import (
    Ticket,
    als_losses,
    compared_layers,
    compared_spectrum,
    cut_qualities,
    cut_recipe,
    ladder,
    seen_roles,
)
from reparam_core.jobs.evaluator import Lane
from reparam_core.measure.spectra import break_even
from reparam_core.models import Model

MEANING = (
    r"With singular values $\sigma_1\ge\sigma_2\ge\dots$ of $W$ ($m\times n$) and the cut $r$: **energy** "
    r"$\sum_{i\le r}\sigma_i^2/\sum_i\sigma_i^2$; **numbers** $r(m+n)/mn$; **relative error** $\lVert W-W_r\rVert/\lVert W\rVert"
    r"=\sqrt{1-\text{energy}}$. **Perplexity** is exp of the mean loss of a token, with this one matrix cut; base → cut, in "
    r"brackets the 95 % interval of the difference, paired bootstrap."
)
Drawing = Callable[[], Callable[[], Figure] | None]  # draws a view, and says how its slide is made
VIEWS = ("One matrix", "All layers", "Alternating least squares")


def pick_cut(full: int, even: int) -> int:
    """The rank of the cut, also by number; the break-even rank where nothing was said."""
    known = st.session_state.pop("cut-dropped", st.session_state.get("cut"))
    if known is not None:
        st.session_state["cut"] = max(1, min(known, full))
    return int(st.number_input("Cut at rank", 1, full, min(even, full), key="cut",
                               help=f"Drag the orange line, or say it here. Break-even is {even}.", **KEPT))  # fmt: skip


def take_to_trade_offs(role: str, cut: int) -> None:
    """The cut as a setting, measured in full on the page of trade-offs."""
    if st.button("Apply this cut", icon=":material/arrow_forward:", width="stretch",
                 help="To Trade-offs, with this matrix at this rank as the recipe."):  # fmt: skip
        load_recipe(cut_recipe(role, cut))
        st.switch_page("pages/trade_offs.py", query_params={})


def asked(model: Model, role: str, recipe: str, cut: int, sources: list[str], name: str) -> View:
    """The jobs of every view: the spectrum, and the model's score at exactly this cut on each source.

    What one looks at goes first: the second source waits until the first is scored, both where another view is open.
    """
    spectra = ask("spectrum", (model.name, role, recipe), lambda: compared_spectrum(model, role, recipe))
    lanes: list[Lane] = ["interactive" if name == VIEWS[0] else "background", "background"]
    scores = [ask_score(f"cut-{index}", model, cut_recipe(role, cut), [source], lanes[index])
              for index, source in enumerate(sources)]  # fmt: skip
    return View(model, role, recipe, cut, sources, spectra, scores)


def job_of(name: str, view: View) -> tuple[str, Ticket | None, Drawing]:
    """The chosen view's own job by name, and how it is drawn."""
    model, role = view.model, view.role
    if name == VIEWS[1]:
        layers = ask("layers", (model.name, view.recipe), lambda: compared_layers(model, view.recipe))
        return "layers", layers, partial(all_layers, view, layers)
    if name == VIEWS[2]:
        losses = ask("als", (model.name, role, view.cut), lambda: als_losses(model, role, view.cut))
        return "als", losses, partial(alternating, view, losses)
    full = min(model.matrices[role].shape)
    tried = ask("cuts", (model.name, role, *view.sources[:1]),
                lambda: cut_qualities(model, role, view.sources[0], ladder(full)), "background") if view.sources else None  # fmt: skip
    return "cuts", tried, partial(one_matrix, view, tried)


def draw(view: View, rest: Drawing) -> Callable[[], Figure] | None:
    """The sentence, then the chosen view; how its slide is made, where its downloads are not its own."""
    st.markdown(f"#### {sentence(view)}", help=MEANING)
    slide = rest()
    if st.session_state.pop("picked", False):
        st.rerun()  # what was picked in this fragment moves the controls outside it; drawn first, so that nothing is lost
    return slide


def page() -> None:
    """Controls → jobs → the chosen view."""
    read_address()
    take_own_source()
    title, which, buttons = st.columns([2, 5, 3], vertical_alignment="center")
    title.title("Spectra")
    told = st.container()
    model = pick_model()
    sources = pick_sources(model)
    chosen = which.segmented_control("View", VIEWS, default=VIEWS[0], required=True, key="spectra_view",
                                     label_visibility="collapsed", **KEPT) or VIEWS[0]  # fmt: skip
    matrix, cut_at, apply_it = st.columns([5, 2, 2], vertical_alignment="bottom")
    with matrix:
        role = pick_matrix(model, seen_roles(model))
    shape = model.matrices[role].shape
    with cut_at:
        cut = pick_cut(min(shape), max(1, break_even(shape)))
    with apply_it:
        take_to_trade_offs(role, cut)
    with st.expander("Before and after a setting of rank, sparsity or bits", icon=":material/compare_arrows:"):
        recipe = pick_recipe(model)
    with buttons, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        undo_and_redo()
    view = asked(model, role, recipe, cut, sources, chosen)
    name, own, rest = job_of(chosen, view)
    scores = [(f"cut-{index}", ticket) for index, ticket in enumerate(view.scores)]
    for job, ticket in (("spectrum", view.spectrum), *scores, (name, own)):
        if ticket is not None:
            failed(job, ticket)
    if view.spectrum.error is None:
        live_saved(lambda: draw(view, rest), "spectrum", view.spectrum, *view.scores, own, every=0.5)
    with told:
        say_misread(drawn=chosen != VIEWS[1] or own is None or not own.pending)  # the map's controls come with it


try:
    page()
except ReparamError as error:
    show_error(error)
