"""Trade-offs: what rank, sparsity and bit-width do to accuracy, size and latency."""

import json
from typing import Any

import streamlit as st

from pages.components.cards import cards
from pages.components.charts import chart
from pages.components.controls import pick_model, pick_pinned, pick_recipe, pick_sources, take_own_source
from pages.components.history import load_recipe, undo_and_redo
from pages.components.live import ask, asked_before, live
from pages.components.panels import by_layer, claims_panel, recipe_panel, tasks_panel, text_panel
from pages.components.words import sentence, source_words
from reparam_core import ReparamError
from reparam_core.figures.tradeoffs import Row, Scale, axis_curve, tradeoff_scatter
from reparam_core.jobs import Explored, Point, Ticket, detailed, explored, measured_so_far, swept
from reparam_core.models import Model
from reparam_core.recipes import Recipe
from reparam_core.registry import AXES

SWEEPS: dict[str, list[dict[str, Any]]] = {
    "rank": [{"method": "svd", "keep": keep / 100} for keep in (100, 75, 50, 40, 30, 20, 10, 5)],
    "sparsity": [{"method": "magnitude", "fraction": share / 100} for share in (0, 20, 40, 50, 60, 70, 80, 90)],
    "bits": [{"method": "rtn", "bits": bits, "group": 64} for bits in (8, 6, 5, 4, 3, 2)],
}
SWEEPED = [json.dumps({"rules": [{axis: step}]}) for axis, steps in SWEEPS.items() for step in steps]
POSITIONS = {"rank": ("keep", 100), "sparsity": ("fraction", 100), "bits": ("bits", 1)}


def row_of(point: Point) -> Row:
    """A point as the charts take it."""
    axes = {axis: step for rule in Recipe.parse(point.recipe).rules for axis, step in rule.steps.items() if step}
    axis = "base" if not axes else "combined" if len(axes) > 1 else next(iter(axes))
    name, factor = POSITIONS.get(axis, ("", 1))
    position = getattr(axes[axis].setting, name, None) if axis in axes else None
    low = high = None
    if point.nll_interval and not point.labelled:
        low, high = (point.base_perplexity * 2.718281828459045**one for one in point.nll_interval)
    quality = point.accuracy if point.labelled else point.perplexity
    where = factor * position if position is not None else None
    return Row(point.recipe, point.short, axis, point.size_ratio, quality, low, high, where, point.final)


def scale_of(point: Point) -> Scale:
    """Perplexity of a text, accuracy of a table."""
    name = "accuracy" if point.labelled else "perplexity"
    return Scale(name, source_words(point.source), not point.labelled)


def provenance_of(model: Model, point: Point) -> str:
    """Where a chart's numbers come from."""
    marked = f", a checkpoint of {model.source_bits} bits" if model.source_bits else ""
    asked = f"{point.answers:,} {point.unit}s"
    convention = "" if point.labelled else " in sequences of 257, every position but the first scored"
    return f"{model.name}{marked} · {point.source}: {asked}{convention} · {point.dtype} · Reparam Explorer"


def head(model: Model, quality: Ticket, details: Ticket, pinned: Ticket | None) -> None:
    """The sentence and the four figures; while nothing is known of the new setting, the old ones in grey."""
    found: Explored = quality.latest or Explored()
    if quality.error is not None:
        st.error(str(quality.error))
        return
    if found.points:
        st.session_state["shown"] = (model.name, list(found.points.values()))
    shown_name, points = st.session_state.get("shown", ("", []))
    stale = not found.points
    if stale:
        st.progress(found.share or 0.0, found.doing or "Measuring …")
        points = points if shown_name == model.name else []
    if points:
        with st.container(key="stale" if stale else "fresh"):
            st.markdown(f"#### {sentence(model.name, points)}")
            cards(points, pinned_point(pinned, points[0]), None if stale else details.latest, model.source_bits)


def pinned_point(pinned: Ticket | None, point: Point) -> Point | None:
    """What is known of the pinned setting on the same source."""
    found: Explored | None = pinned.latest if pinned else None
    return found.points.get(point.source) if found else None


def charts(model: Model, sources: list[str], recipe: str, axis: str, quality: Ticket) -> None:
    """Everything measured so far, and one axis with its curves."""
    if st.session_state.pop("clicked", False):
        st.rerun()  # the click reran this fragment alone, and the controls are outside
    points = {source: [*measured_so_far(model, source), *estimates(quality, source)] for source in sources}
    every = points[sources[0]] if sources else []
    if not every:
        st.caption("The charts appear with the first setting that is fully measured.")
        return
    provenance, canonical = provenance_of(model, every[-1]), Recipe.parse(recipe).canonical
    rows = [row_of(one) for one in every]
    left, right = st.columns(2)
    with left:
        chart(tradeoff_scatter(rows, canonical, scale_of(every[0]), provenance), "trade-offs",
              on_select=load_clicked, selection_mode="points")  # fmt: skip
    with right:
        curves = [(scale_of(some[0]), along(axis, some)) for some in points.values() if some]
        here = next((row.position for row in rows if row.recipe == canonical and row.axis == axis), None)
        chart(axis_curve(axis, curves, here, provenance), f"along-{axis}")


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


def along(axis: str, points: list[Point]) -> list[Row]:
    """The settings of one axis applied to the blocks, base included at its end."""
    default = [one for one in points if all(rule.where is None for rule in Recipe.parse(one.recipe).rules)]
    return [row for row in map(row_of, default) if row.axis == axis]


def load_clicked() -> None:
    """A click on a point loads its recipe."""
    chosen = st.session_state["chart-trade-offs"]["selection"]["points"]
    if chosen and chosen[0].get("customdata"):
        load_recipe(str(chosen[0]["customdata"][0]))
        st.session_state["clicked"] = True


def sweep_controls(model: Model, sources: list[str], quality: Ticket) -> None:
    """Fill the curves in the background, with how long it will take."""
    ticket = asked_before("sweep")
    if ticket is not None and ticket.pending:
        done, total = ticket.latest or (0, len(SWEEPED))
        bar, stop = st.columns([6, 1], vertical_alignment="center")
        bar.progress(done / total, f"Sweeping in the background: {done} of {total} settings")
        if stop.button("Cancel", key="cancel-sweep"):
            ticket.cancel()
            st.rerun()
        return
    seconds = [point.seconds for point in (quality.latest or Explored()).points.values() if point.final]
    told = f", about {max(1, round(sum(seconds) * len(SWEEPED) / 60))} min" if seconds else ""
    if st.button(f"Sweep rank, sparsity and bits: {len(SWEEPED)} settings{told}", key="sweep", icon=":material/timeline:",
                 help="Over all blocks, in the background; your own settings go first, and what is known is skipped."):  # fmt: skip
        wanted = (model.name, tuple(sources), st.session_state.get("sweeps", 0))
        st.session_state["sweeps"] = st.session_state.get("sweeps", 0) + 1
        ask("sweep", wanted, lambda own: swept(model, SWEEPED, sources, own), "background")
        st.rerun()


def page() -> None:
    """Controls → recipe → jobs → figures."""
    take_own_source()
    title, buttons = st.columns([3, 2], vertical_alignment="center")
    title.title("Trade-offs")
    model = pick_model()
    sources, recipe = pick_sources(model), pick_recipe()
    with buttons, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        undo_and_redo()
    chosen = pick_pinned(recipe)
    quality = ask("quality", (model.name, recipe, tuple(sources)), lambda own: explored(model, recipe, sources, own))
    details = ask("details", (model.name, recipe), lambda own: detailed(model, recipe, own), "background")
    pinned = ask("pinned", (model.name, chosen, tuple(sources)), lambda own: explored(model, chosen, sources, own),
                 "background") if chosen else None  # fmt: skip
    live(lambda: head(model, quality, details, pinned), quality, details, pinned)
    sweeping, along_which = st.columns([3, 1], vertical_alignment="center")
    with along_which:
        axis = pick_axis(recipe)
    with sweeping:
        live(lambda: sweep_controls(model, sources, quality), asked_before("sweep"), quality)
    live(lambda: charts(model, sources, recipe, axis, quality), quality, asked_before("sweep"), every=2.0)
    texts, layers, claimed, tasks, written = st.tabs(
        ["Text before and after", "By layer", "Claimed against measured", "Tasks", "Recipe · Python · command line"])  # fmt: skip
    with texts:
        text_panel(model, recipe)
    with layers:
        live(lambda: by_layer(model, details), details, every=1.5)
    with claimed:
        live(lambda: claims_panel(model, details), details, every=1.5)
    with tasks:
        live(lambda: tasks_panel(model, details, quality), details, quality, every=1.5)
    with written:
        recipe_panel(model, recipe, sources)


try:
    page()
except ReparamError as error:
    st.error(str(error))
