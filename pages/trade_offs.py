"""Trade-offs: what rank, sparsity and bit-width do to accuracy, size and latency."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from pages.components.cards import cards
from pages.components.charts import chart
from pages.components.controls import pick_model, pick_pinned, pick_recipe, pick_sources, take_own_source
from pages.components.history import load_recipe, undo_and_redo
from pages.components.live import ask, awaited, failed, live
from pages.components.panels import by_layer, claims_panel, recipe_panel, tasks_panel, text_panel
from pages.components.rows import QualityKind, along, family_of, position_of, provenance_of, row_of, scale_of, shown_for
from pages.components.words import sentence
from reparam_core import ReparamError
from reparam_core.data import is_labelled
from reparam_core.figures.tradeoffs import axis_curve, tradeoff_scatter
from reparam_core.jobs import LARGE, Details, Explored, Point, Ticket, detailed, explored, measured_so_far, swept
from reparam_core.models import Model
from reparam_core.recipes import Recipe
from reparam_core.registry import AXES
from reparam_core.search import curve_recipes


@dataclass(frozen=True)
class Sweep:
    """The settings that fill the curves, and the job that measures them, where there is one."""

    recipes: list[str]
    ticket: Ticket | None = None


def head(model: Model, quality: Ticket, details: Ticket, pinned: Ticket | None) -> None:
    """The sentence and the four figures; while nothing is known of the new setting, the old ones in grey."""
    place = st.empty()
    if quality.pending and not (quality.latest or Explored()).points:
        with place.container():
            old_figures(model, quality)
        awaited(quality, lambda found: bool(found.points))
    found: Explored = quality.latest or Explored()
    if quality.error is not None:
        with place.container():
            failed("quality", quality)
    elif found.points:
        points = list(found.points.values())
        st.session_state["shown"] = (model.name, points)
        with place.container(key="fresh"):
            if pinned is not None and pinned.error is not None:
                st.warning(
                    f"The pinned setting does not fit {model.name}, so the base stands in for it. {pinned.error}"
                )
            figures(model, points, pinned_point(pinned, points[0]), details.latest)


def old_figures(model: Model, quality: Ticket) -> None:
    """What is being done, above the figures of the setting before."""
    found: Explored = quality.latest or Explored()
    st.progress(found.share or 0.0, found.doing or "Measuring …")
    name, points = st.session_state.get("shown", ("", []))
    if name == model.name:
        with st.container(key="stale"):
            figures(model, points, None, None)


def figures(model: Model, points: list[Point], pinned: Point | None, details: Details | None) -> None:
    """The sentence and the four figures."""
    st.markdown(f"#### {sentence(model.name, points, details.latency if details and details.timed else None)}")
    cards(points, pinned, details, model.source_bits)


def pinned_point(pinned: Ticket | None, point: Point) -> Point | None:
    """What is known of the pinned setting on the same source."""
    found: Explored | None = pinned.latest if pinned else None
    return found.points.get(point.source) if found else None


def charts(model: Model, sources: list[str], recipe: str, axis: str, quality: QualityKind, ticket: Ticket) -> None:
    """Everything measured so far, and one axis with its curves."""
    if st.session_state.pop("clicked", False):
        st.rerun()  # the click reran this fragment alone, and the controls are outside
    points = {source: [*measured_so_far(model, source), *estimates(ticket, source)] for source in sources}
    every = points[sources[0]] if sources else []
    if not every:
        st.caption("The charts appear with the first setting that is fully measured.")
        return
    canonical = Recipe.parse(recipe).canonical
    rows = [row_of(one, quality) for one in every]
    left, right = st.columns(2)
    with left:
        chart(tradeoff_scatter(rows, canonical, scale_of(every[0], quality),
                               provenance_of(model, [shown_for(every)])), "trade-offs",
              on_select=load_clicked, selection_mode="points")  # fmt: skip
    with right:
        family = family_of(canonical, axis)
        shown = [some for some in points.values() if some]
        curves = [(scale_of(some[0], quality), along(family, some, quality)) for some in shown]
        provenance = provenance_of(model, [shown_for(some) for some in shown])
        chart(axis_curve(family.along, curves, position_of(canonical, family), provenance), f"along-{axis}")


def estimates(quality: Ticket, source: str) -> list[Point]:
    """What is known of the current setting before it is measured to the end."""
    found = (quality.latest or Explored()).points.values()
    return [point for point in found if not point.final and point.source == source.rpartition("/")[2]]


def pick_axis(recipe: str) -> str:
    """Which axis the curves run along: the one that the setting touches, unless another is picked."""
    own = {axis for rule in json.loads(Recipe.parse(recipe).canonical)["rules"] for axis in rule if axis in AXES}
    default = own.pop() if len(own) == 1 else "rank"
    return st.segmented_control("Curves along", AXES, default=default, key=f"axis_{default}", bind="query-params",
                                label_visibility="collapsed") or default  # fmt: skip


def pick_quality(sources: list[str]) -> QualityKind:
    """What the charts show of a text: perplexity, or how often the next token is right; of a table its accuracy."""
    if any(is_labelled(source) for source in sources):
        return "accuracy"
    kinds: tuple[QualityKind, ...] = ("perplexity", "accuracy")
    return st.segmented_control("Quality", kinds, default=kinds[0], key="quality", bind="query-params",
                                label_visibility="collapsed") or kinds[0]  # fmt: skip


def load_clicked() -> None:
    """A click on a point loads its recipe."""
    chosen = st.session_state["chart-trade-offs"]["selection"]["points"]
    if chosen and chosen[0].get("customdata"):
        load_recipe(str(chosen[0]["customdata"][0]))
        st.session_state["clicked"] = True


def sweep(model: Model, sources: list[str], recipe: str) -> Sweep:
    """The background job that fills the curves: by itself for small models, for large ones once it is asked for."""
    asked: dict[str, int] = st.session_state.setdefault("sweeps", {})
    count, recipes = asked.setdefault(model.name, int(model.parameters < LARGE)), curve_recipes(recipe)
    if not count or not sources:
        return Sweep(recipes)
    wanted = (model.name, tuple(sources), tuple(recipes), count)
    return Sweep(recipes, ask("sweep", wanted, lambda own: swept(model, recipes, sources, own), "background"))


def sweep_controls(model: Model, sweeping: Sweep, quality: Ticket) -> None:
    """How far the sweep is, and its button with how long it will take."""
    ticket, total = sweeping.ticket, len(sweeping.recipes)
    if ticket is not None and ticket.pending:
        done, total = ticket.latest or (0, total)
        bar, stop = st.columns([6, 1], vertical_alignment="center")
        bar.progress(done / total, f"Filling the curves in the background: {done} of {total} settings")
        if stop.button("Stop", key="stop-sweep", help="What is measured stays."):
            ticket.cancel()
            st.rerun()
    elif ticket is not None and ticket.state == "done":
        st.caption(f"The curves are filled with {total} settings: click a point to load it.")
    else:
        st.button(f"Fill the curves: {total} settings{_minutes(quality, total)}", key="sweep", on_click=_ask_for_sweep,
                  args=(model.name,), icon=":material/timeline:",
                  help="Along rank, sparsity and bits, in the background; your own settings go first, and what is known is skipped.")  # fmt: skip


def _ask_for_sweep(name: str) -> None:
    st.session_state["sweeps"][name] += 1


def _minutes(quality: Ticket, settings: int) -> str:
    """How long a sweep takes, from what one setting took."""
    seconds = [
        point.seconds for point in (quality.latest or Explored()).points.values() if point.final and point.seconds
    ]
    return f", about {max(1, round(max(seconds) * settings / 60))} min" if seconds else ""


def page() -> None:
    """Controls → recipe → jobs → figures."""
    take_own_source()
    title, buttons = st.columns([3, 2], vertical_alignment="center")
    title.title("Trade-offs")
    model = pick_model()
    sources, recipe = pick_sources(model), pick_recipe(model)
    with buttons, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        undo_and_redo()
    chosen = pick_pinned(recipe)
    quality = ask("quality", (model.name, recipe, tuple(sources)), lambda own: explored(model, recipe, sources, own))
    details = ask("details", (model.name, recipe), lambda own: detailed(model, recipe, own), "background")
    pinned = ask("pinned", (model.name, chosen, tuple(sources)), lambda own: explored(model, chosen, sources, own),
                 "background") if chosen else None  # fmt: skip
    sweeping = sweep(model, sources, recipe)
    live(lambda: head(model, quality, details, pinned), quality, details, pinned)
    state, shown = st.columns([5, 4], vertical_alignment="center")
    with shown, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        kind, axis = pick_quality(sources), pick_axis(recipe)
    with state:
        live(lambda: sweep_controls(model, sweeping, quality), sweeping.ticket, quality, every=1.0)
    live(lambda: charts(model, sources, recipe, axis, kind, quality), quality, sweeping.ticket, every=2.0)
    panels(model, sources, recipe, quality, details)


def panels(model: Model, sources: list[str], recipe: str, quality: Ticket, details: Ticket) -> None:
    """What stands below the charts; only the open panel is drawn."""
    drawn: dict[str, Callable[[], None]] = {
        "Text before and after": lambda: text_panel(model, recipe),
        "By layer": lambda: live(lambda: by_layer(model, details), details, every=1.5),
        "Claimed against measured": lambda: live(lambda: claims_panel(model, details), details, every=1.5),
        "Tasks": lambda: live(lambda: tasks_panel(model, details, quality), details, quality, every=1.5),
        "Recipe · Python · command line": lambda: recipe_panel(model, recipe, sources),
    }
    tabs = st.tabs(list(drawn), key="panel", on_change="rerun", bind="query-params")
    for tab, draw in zip(tabs, drawn.values(), strict=True):
        if tab.open:
            with tab:
                draw()


try:
    page()
except ReparamError as error:
    st.error(str(error))
