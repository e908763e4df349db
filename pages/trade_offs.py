"""Trade-offs: what rank, sparsity and bit-width do to accuracy, size and latency."""

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.address import read_address, say_misread
from pages.components.baseline import Baseline, baseline_of
from pages.components.cards import cards
from pages.components.charts import live_chart
from pages.components.controls import (
    pick_model,
    pick_recipe,
    pick_sources,
    pin_controls,
    read_pinned,
    take_own_source,
)
from pages.components.errors import show_error
from pages.components.history import load_picked, load_recipe, undo_and_redo
from pages.components.live import ask, ask_score, awaited, failed, live
from pages.components.panels import by_layer, claims_panel, recipe_panel, tasks_panel, text_panel
from pages.components.point_clicks import clicked, hear_clicks
from pages.components.progress import with_time_left
from pages.components.rows import (
    QualityKind,
    along,
    axes_of,
    choice_words,
    family_of,
    of_one_measure,
    position_of,
    provenance_of,
    row_of,
    scale_of,
    shown_for,
    through,
)
from pages.components.words import sentence
from reparam_core import ReparamError
from reparam_core.data import is_labelled
from reparam_core.figures.tradeoffs import axis_curve, tradeoff_scatter
from reparam_core.jobs import LARGE, Details, Explored, Point, Ticket, detailed, detailed_before, measured_so_far, swept
from reparam_core.jobs.lasting import seconds_at_first
from reparam_core.models import Model
from reparam_core.recipes import Recipe
from reparam_core.registry import AXES
from reparam_core.search import curve_recipes

# Greys every figure but those of one key. A style stays in force until the next run of the page, so it must not name the old ones alone.
OLD = '<style>[class*="st-key-figures-"]:not(.st-key-{key}) {{ opacity: 0.4; }}</style>'
EVERY = 4.0  # seconds from one drawing of a chart to the next: a click between two figures is lost
REFINING = 2.0  # the same while the setting itself is scored, which its card shows as it comes


@dataclass(frozen=True)
class Sweep:
    """The settings that fill the curves, and the job that measures them, where there is one."""

    recipes: list[str]
    ticket: Ticket | None = None


@dataclass(frozen=True)
class Asked:
    """What is shown: a setting of a model, scored on sources, beside what is pinned."""

    model: Model
    recipe: str
    sources: list[str]
    chosen: str | None  # the recipe that is pinned
    quality: Ticket
    details: Ticket
    pinned: Ticket | None

    @property
    def key(self) -> str:
        """Of the container of this setting's figures: another's are grey."""
        return f"figures-{hash((self.model.name, self.recipe, *self.sources)) & 0xFFFFFFFF:x}"

    @property
    def baseline(self) -> Baseline:
        """What the figures are told against."""
        return baseline_of(self.chosen, self.pinned)


def ask_for(model: Model, recipe: str, sources: list[str], chosen: str | None) -> Asked:
    """The jobs of this setting; what one waits for goes first."""
    quality = ask_score("quality", model, recipe, sources)
    pinned = ask_score("pinned", model, chosen, sources, "background") if chosen else None
    details = ask("details", (model.name, recipe), lambda: detailed(model, recipe), "background",
                  known=lambda: detailed_before(model, recipe))  # fmt: skip
    return Asked(model, recipe, sources, chosen, quality, details, pinned)


def head(asked: Asked, doing: DeltaGenerator) -> None:
    """The sentence and the four figures; while nothing is known of the new setting, the old ones in grey."""
    model, quality, place = asked.model, asked.quality, st.empty()
    if quality.pending and not (quality.latest or Explored()).points:
        so_far: Explored = quality.latest or Explored()
        share, words = so_far.share or 0.0, so_far.doing or "Measuring …"
        doing.progress(
            share, with_time_left("quality", words, share, seconds_at_first(model, Recipe.parse(asked.recipe)))
        )
        with place.container(key="stale"):
            old_figures(model)
    found: Explored = quality.latest or Explored()
    if quality.error is not None:
        with place.container():
            failed("quality", quality)
            with st.container(key="stale"):
                old_figures(model)
    elif found.points:
        points = list(found.points.values())
        st.session_state["shown"] = (model.name, points, asked.baseline)
        with place.container(key=asked.key):
            if asked.pinned is not None and asked.pinned.error is not None:
                st.warning(
                    f"The pinned setting does not fit {model.name}, so the base stands in for it. {asked.pinned.error}"
                )
            figures(model, points, asked.baseline, asked.details.latest)
    if found.points or not quality.pending:
        doing.empty()


def old_figures(model: Model) -> None:
    """Those of the setting before."""
    name, points, baseline = st.session_state.get("shown", ("", [], Baseline()))
    if name == model.name:
        figures(model, points, baseline, None)


def figures(model: Model, points: list[Point], baseline: Baseline, details: Details | None) -> None:
    """The sentence and the four figures."""
    latency = details.latency if details and details.timed else None
    st.markdown(f"#### {sentence(model.name, points, latency, baseline)}")
    cards(points, baseline, details, model.source_bits)


def scatter(asked: Asked, kind: QualityKind) -> go.Figure | None:
    """Everything measured so far on the first source."""
    points = known_of(asked, asked.sources[0]) if asked.sources else []
    if not points:
        st.caption("The charts appear with the first setting that is fully measured.")
        return None
    rows, canonical = [row_of(one, kind) for one in points], Recipe.parse(asked.recipe).canonical
    return tradeoff_scatter(rows, canonical, scale_of(points[0], kind), provenance_of(asked.model, [shown_for(points)], canonical),
                            asked.baseline.recipe if asked.baseline.pinned else None)  # fmt: skip


def curve(asked: Asked, axis: str, kind: QualityKind) -> go.Figure | None:
    """Quality along one axis, a curve a source: those whose measure is the first one's, as an axis has one."""
    shown = of_one_measure([points for source in asked.sources if (points := known_of(asked, source))])
    if not shown:
        return None
    canonical = Recipe.parse(asked.recipe).canonical
    family = family_of(canonical, axis)
    curves = [(scale_of(some[0], kind), along(family, some, kind)) for some in shown]
    provenance = provenance_of(asked.model, [shown_for(some) for some in shown], canonical)
    return axis_curve(family.along, curves, position_of(canonical, family), provenance,
                      through(canonical, axis, shown[0], kind))  # fmt: skip


def known_of(asked: Asked, source: str) -> list[Point]:
    """What is measured on a source, and what is known of the current setting on it."""
    return [*measured_so_far(asked.model, source), *estimates(asked.quality, source)]


def estimates(quality: Ticket, source: str) -> list[Point]:
    """What is known of the current setting before it is measured to the end."""
    found = (quality.latest or Explored()).points.values()
    return [point for point in found if not point.final and point.source == source.rpartition("/")[2]]


def pick_axis(recipe: str) -> str:
    """Which axis the curves run along: the first that the setting touches, unless another is picked."""
    default = next(iter(axes_of(Recipe.parse(recipe).canonical)), "rank")
    return st.segmented_control("Curves along", AXES, default=default, key=f"axis_{default}", bind="query-params",
                                label_visibility="collapsed") or default  # fmt: skip


def pick_quality(sources: list[str]) -> QualityKind:
    """What the charts show of a text: perplexity, or how often the next token is right; of a table its accuracy."""
    if any(is_labelled(source) for source in sources):
        return "accuracy"
    kinds: tuple[QualityKind, ...] = ("perplexity", "accuracy")
    return st.segmented_control("Quality", kinds, default=kinds[0], key="quality", bind="query-params",
                                label_visibility="collapsed") or kinds[0]  # fmt: skip


def pick_measured(asked: Asked, kind: QualityKind) -> None:
    """What a click on a point does, for hands on a keyboard."""
    points = sorted((one for one in known_of(asked, asked.sources[0]) if one.final), key=lambda one: one.size_ratio)
    told = {one.recipe: choice_words(one, kind) for one in points}
    if not told:
        return
    measure = scale_of(points[0], kind).name
    st.selectbox("Load a measured setting", list(told), None, told.__getitem__, key="load-measured", on_change=load_picked, args=("load-measured",),
                 placeholder=f"Load a measured setting (bytes, {measure}) …", label_visibility="collapsed", width=340)  # fmt: skip


def sweep(model: Model, sources: list[str], recipe: str) -> Sweep:
    """The background job that fills the curves: by itself for small models, for large ones once it is asked for."""
    asked: dict[str, int] = st.session_state.setdefault("sweeps", {})
    count, recipes = asked.setdefault(model.name, int(model.parameters < LARGE)), curve_recipes(recipe)
    if not count or not sources:
        return Sweep(recipes)
    wanted = (model.name, tuple(sources), tuple(recipes), count)
    return Sweep(recipes, ask("sweep", wanted, lambda: swept(model, recipes, sources), "background"))


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
    read_address()
    take_own_source()
    if recipe := clicked():
        load_recipe(recipe)
    title, state, buttons = st.columns([2.4, 6, 3.2], vertical_alignment="center")
    title.title("Trade-offs")
    doing, told = state.empty(), st.container()
    model = pick_model()
    sources, recipe = pick_sources(model), pick_recipe(model)
    with buttons, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        undo_and_redo()
    asked = ask_for(model, recipe, sources, read_pinned())
    pin_controls(recipe, lambda: asked.baseline, asked.pinned)
    sweeping = sweep(model, sources, recipe)
    st.html(OLD.format(key=asked.key))  # what is on screen may be the setting before
    awaited(asked.quality, lambda found: bool(found.points))  # a browser that draws meanwhile would slow it down
    live(lambda: head(asked, doing), asked.quality, asked.details, asked.pinned)
    state, shown = st.columns([5, 4], vertical_alignment="center")
    with shown, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        kind, axis = pick_quality(sources), pick_axis(recipe)
    with state:
        live(lambda: sweep_controls(model, sweeping, asked.quality), sweeping.ticket, asked.quality, every=1.0)
    charts(asked, axis, kind, sweeping.ticket)
    panels(asked)
    hear_clicks()
    with told:
        say_misread()


def charts(asked: Asked, axis: str, kind: QualityKind, sweeping: Ticket | None) -> None:
    """Side by side; each is drawn again by itself while the sweep brings new points."""
    left, right = st.columns(2)
    waiting, every = (asked.quality, sweeping), REFINING if asked.quality.pending else EVERY
    with left:
        live_chart(lambda: scatter(asked, kind), "trade-offs", *waiting, every=every,
                   beside=lambda: pick_measured(asked, kind))  # fmt: skip
    with right:
        live_chart(lambda: curve(asked, axis, kind), f"along-{axis}", *waiting, every=every)


def panels(asked: Asked) -> None:
    """What stands below the charts; only the open panel is drawn."""
    model, recipe = asked.model, asked.recipe
    drawn: dict[str, Callable[[], None]] = {
        "Text before and after": lambda: text_panel(model, recipe, asked.quality),
        "By layer": lambda: by_layer(model, recipe, asked.details),
        "Claimed against measured": lambda: claims_panel(model, recipe, asked.details),
        "Tasks": lambda: tasks_panel(model, recipe, asked.details, asked.quality),
        "Recipe · Python · command line": lambda: recipe_panel(model, recipe, asked.sources),
    }
    tabs = st.tabs(list(drawn), key="panel", on_change="rerun", bind="query-params")
    for tab, draw in zip(tabs, drawn.values(), strict=True):
        if tab.open:
            with tab:
                draw()


try:
    page()
except ReparamError as error:
    show_error(error)
