"""The controls that every page has: which model, what it is scored on, and what is done to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.baseline import BASE, Baseline
from pages.components.calibration import calibration_note, pick_calibration
from pages.components.errors import error_words, show_error
from pages.components.history import (
    KEPT,
    ONE,
    ROW,
    SHARE,
    TEXT,
    UNTOUCHED,
    back_to_sliders,
    listen,
    load_picked,
    remember,
    steady,
    unfolded,
)
from pages.components.keys_and_values import pick_cache
from pages.components.live import ask, failed, live
from pages.components.more import GROUP, explained, fit_to, more_of
from pages.components.own import CHOSEN, Use, give_own
from pages.components.places import IN_BLOCKS, KINDS, Place
from pages.components.rewriting import pick_rewrite
from pages.components.words import setting_words, source_titles
from reparam_core import ReparamError
from reparam_core.apply import check, suited
from reparam_core.data import ENTRIES as TEXTS
from reparam_core.data import fitting, own_sources
from reparam_core.jobs import Ticket, fetched, loader
from reparam_core.jobs.exploring import LENGTH
from reparam_core.measure.evaluation import DEFAULT_SOURCES, evaluation
from reparam_core.measure.spectra import break_even
from reparam_core.measure.tasks import tasks_of
from reparam_core.methods.base import Method
from reparam_core.models import ENTRIES, Fit, Model, fit, load, loaded
from reparam_core.presets import presets
from reparam_core.recipes import Recipe, Rule
from reparam_core.registry import methods
from reparam_core.store import store_warning

SUFFIXES = {"causal": (".txt", ".csv"), "masked": (".txt",), "classification": (".csv",), "seq2seq": (".csv",)}
OTHER = "another …"
MORE = ":material/more_horiz:"  # as the label it has no chevron: where drawing is slow, a click on one shuts what it opened
FITTING = 1000  # recipes that are known to fit
QUICK = 10.0  # seconds that a model may take to load without being asked for


def pick_model() -> Model:
    """The model picker in the sidebar; stops the page with a line where the model cannot be had."""
    there = [name for name, entry in ENTRIES.items() if entry.source is not None]
    with st.sidebar:
        name = st.selectbox(
            "Model", [*there, OTHER], key="model", help="The model whose weights are rewritten.", **KEPT
        )
        if name == OTHER:
            name = st.text_input("Folder or hub id", key="other_model", placeholder="a folder, or owner/name",
                                 help="Weights in safetensors only; code in a checkpoint is never run.", **KEPT)  # fmt: skip
        else:
            st.caption(ENTRIES[name].summary)
        if warning := store_warning():
            st.warning(warning)
    if not name:
        st.info("Name a folder that transformers saved, or a model on the hub.")
        st.stop()
    return loaded(name) or _loaded_now(name)


def _loaded_now(name: str) -> Model:
    """What it takes, before it is taken; what is dear waits for a button and shows how far it is."""
    try:
        needed = fit(name)
        if needed.problem:
            st.error(needed.problem)
            st.stop()
        if needed.seconds > QUICK:
            _fetch(name, needed)
        with st.spinner(f"Loading {name}: {needed}"):
            return load(name)
    except ReparamError as error:
        show_error(error)
        st.stop()


def _fetch(name: str, needed: Fit) -> None:
    """In the background, once it was agreed to; the page goes on when it is there."""
    agreed: dict[str, float] = st.session_state.setdefault("agreed", {})
    if name not in agreed:
        st.info(f"{name}: {needed}")
        st.button("Fetch and convert it", key=f"agree-{name}", type="primary",
                  on_click=lambda: agreed.update({name: time.monotonic()}))  # fmt: skip
        st.stop()
    ticket = ask("load", name, lambda: fetched(name), worker=loader())
    live(lambda: _progress(name, needed, agreed[name]), ticket)
    if failed("load", ticket) or ticket.pending:
        st.stop()


def _progress(name: str, needed: Fit, since: float) -> None:
    """How far it is by the clock: neither the hub nor the converter tells."""
    share = min(0.97, (time.monotonic() - since) / needed.seconds)
    st.progress(share, f"Fetching and converting {name}, about {needed.seconds:.0f} s in all, once")


def shipped_sources(model: Model) -> list[str]:
    """The texts and tables that a model of this objective is scored on, what is usual first."""
    texts = [name for name, one in TEXTS.items() if model.objective in one.scores]
    return sorted([*texts, *tasks_of(model)], key=lambda one: one != DEFAULT_SOURCES.get(model.objective))


def pick_sources(model: Model) -> list[str]:
    """What quality is measured on: a text or table, and a second beside it."""
    known = shipped_sources(model)
    own = [path for suffix in SUFFIXES.get(model.objective, ()) for path in own_sources(suffix)]
    every, kind = [*known, *own], model.objective
    if not every:
        return []
    titles = source_titles(every)
    with st.sidebar:
        first = st.selectbox("Scored on", every, key=f"text_{kind}", format_func=titles.__getitem__,
                             help="Quality is measured on this; other words give other numbers.", **KEPT)  # fmt: skip
        second = None
        if len(every) > 1:
            beside = ["nothing", *every]
            second = st.selectbox("Beside it", beside, 2 if len(known) > 1 else 0, key=f"beside_{kind}",
                                  format_func=lambda one: titles.get(one, one),
                                  help="A second text of another domain, side by side.", **KEPT)  # fmt: skip
        own_use = Use("Your own text or table", "Score on this", "own", f"text_{kind}", SUFFIXES[kind])
        give_own(own_use, fitting(model, LENGTH), lambda path: evaluation(model, str(path), 1, LENGTH))
    return list(dict.fromkeys(one for one in (first, second) if one and one != "nothing"))


def take_own_source() -> None:
    """Before the menus are drawn: what was just given is what is chosen."""
    chosen = st.session_state.pop(CHOSEN, None)
    if chosen:
        st.session_state[chosen[0]] = chosen[1]


@dataclass(frozen=True)
class Axis:
    """One slider: its words, its positions, and the setting that a position says."""

    name: str
    label: str
    positions: Callable[[type[Method]], Sequence[int]]
    method: str
    place: str
    tip: str
    setting: Callable[[int], dict[str, Any]]
    note: Callable[[Model, Place], str] = lambda _model, _place: ""
    rests: Callable[[], str] = lambda: ""  # what is meant in the slider's place


def _rank_setting(position: int) -> dict[str, Any]:
    return {st.session_state.get("rank_unit") or "keep": position / 100}


def _sparsity_setting(position: int) -> dict[str, Any]:
    pattern = _pattern()
    if pattern:
        return {"pattern": pattern}
    block = st.session_state.get("sparsity_block", ONE)
    squares = block != ONE and methods("sparsity")[st.session_state["sparsity_method"]].patterns
    return {"fraction": position / 100} | ({"block": block} if squares else {})


def _pattern() -> str:
    """2:4 and the like; empty while the slider says how many."""
    pattern = str(st.session_state.get("sparsity_pattern") or SHARE)
    return "" if pattern == SHARE else pattern


def _bits_setting(position: int) -> dict[str, Any]:
    group = st.session_state.get("bits_group", GROUP)
    kind = methods("bits")[st.session_state["bits_method"]]
    symmetric = kind.symmetric and st.session_state.get("bits_symmetric")
    return {"bits": position} | ({} if group == ROW else {"group": group}) | ({"symmetric": True} if symmetric else {})


def _break_even_note(model: Model, place: Place) -> str:
    """From which share of full rank on two factors hold fewer numbers than the matrix, by its shape."""
    unit = st.session_state.get("rank_unit") or "keep"
    if unit != "keep":  # of the numbers it is 100 by definition, of the energy another share for every matrix
        return " · break-even 100" if unit == "parameters" else ""
    rule = Rule(where=place.glob)
    shapes = {one.shape for role, one in model.matrices.items() if rule.matches(role, one.compressed_by_default)}
    shares = sorted(100 * break_even(shape) // min(shape) for shape in shapes)
    if not shares:
        return ""
    return f" · break-even {shares[0]}" + (f" to {shares[-1]}" if shares[-1] > shares[0] else "")


CONTROLS = (
    Axis("rank", "Rank kept, %", lambda _: range(1, 101), "svd", "Q/K/V",
         "Fewer directions. Below break-even the two factors hold fewer numbers than the matrix, above it more. Try 30.",
         _rank_setting, _break_even_note),
    Axis("sparsity", "Sparsity, % zeroed", lambda _: range(100), "magnitude", "Blocks",
         "More zeros: fewer bytes, and no faster product here. Try 50.", _sparsity_setting, rests=_pattern),
    Axis("bits", "Bits a number", lambda kind: [*kind.widths, UNTOUCHED["bits"]], "rtn", "Blocks",
         "Fewer bits: coarser numbers. Try 4. Some methods have one width alone.", _bits_setting),
)  # fmt: skip


def pick_recipe(model: Model) -> str:
    """The three sliders with their methods and places, or the recipe typed as text: recipe JSON."""
    steady()
    typed = str(st.session_state.get(TEXT) or "")
    rules = []
    for axis, column in zip(CONTROLS, st.columns(3), strict=True):
        with column:
            rules.append(_rule(axis, model, bool(typed)))
    said: dict[str, Any] = pick_rewrite(model, bool(typed)) | {"rules": [rule for rule in rules if rule]}
    said |= pick_cache(model, bool(typed))
    if not typed and Recipe.parse(said).reads:
        said["calibration"] = pick_calibration(model)
    recipe = json.dumps(said, sort_keys=True)
    with st.sidebar:
        known = {name: one for name, one in presets().items() if _taken(model, name)}
        st.selectbox("Presets", list(known), None, lambda name: known[name].title, key="load-preset", on_change=load_picked,
                     args=("load-preset",), placeholder="Load a preset …", label_visibility="collapsed",
                     help="; ".join(f"**{one.title}**: {one.summary}" for one in known.values()))  # fmt: skip
    with st.sidebar, _folded("Recipe as text", TEXT, width="stretch", icon=":material/code:"):
        typed = st.text_input("A recipe as text", key=TEXT, placeholder="svd:0.5 + magnitude:0.5 + rtn:4g64, or JSON",
                              help="While it is filled, it is what counts; clear it to use the sliders.", **KEPT)  # fmt: skip
    listen()
    return _typed_recipe(typed, model) if typed else _in_force(model, recipe, st.container())[0]


def _taken(model: Model, preset: str) -> bool:
    """Does the model take what the preset rewrites first? Not every architecture does."""
    return _rewrites(preset) <= set(suited(model))


@cache
def _rewrites(preset: str) -> frozenset[str]:
    return frozenset(one.name for one in Recipe.parse(preset).transform)


@contextmanager
def _folded(label: str, prefix: str, **options: Any) -> Iterator[None]:
    """A popover with the controls whose keys start so; opening it draws the page again, so that they are in step."""
    popover = st.popover(label, key=f"fold-{prefix}", on_change="rerun", **options)
    with popover:
        yield
    if popover.open:
        unfolded(prefix)


def _typed_recipe(typed: str, model: Model) -> str:
    """The recipe that was typed; while it cannot be read or does not fit, the one before it stays in force."""
    line, back = st.columns([5, 1], vertical_alignment="center")
    back.button("Back to the sliders", on_click=back_to_sliders)
    recipe, fits = _in_force(model, typed, line)
    if fits:
        read = calibration_note(model, recipe)
        line.caption(f"A recipe from text is in force{f', {read}' if read else ''}; the sliders rest.")
    return recipe


def _in_force(model: Model, asked: str, line: DeltaGenerator) -> tuple[str, bool]:
    """The recipe where it fits the model, and whether: else why not is told in place, and the last one that did stays."""
    problem = _misfit(model, asked)
    if problem is None:
        remember()
        st.session_state["in_force"] = recipe = Recipe.parse(asked).canonical
        return recipe, True
    before = str(st.session_state.get("in_force", BASE))
    kept = BASE if _misfit(model, before) else before  # another model may have other matrices
    line.error(f"{problem} Shown instead: {setting_words(kept)}.")
    return kept, False


def _misfit(model: Model, recipe: str) -> str | None:
    """Why a recipe cannot be applied to the model; None where it can, which is found out once."""
    known: set[tuple[str, str]] = st.session_state.setdefault("fitting", set())
    if (model.sha256, recipe) in known:
        return None
    try:
        check(model, recipe)
    except ReparamError as error:
        return error_words(error)
    if len(known) >= FITTING:
        known.clear()
    known.add((model.sha256, recipe))
    return None


def _rule(axis: Axis, model: Model, disabled: bool) -> dict[str, Any] | None:
    """A slider with its method and place; None while it is untouched."""
    above = st.container()  # the slider's label says what its menus below mean
    known = list(methods(axis.name))
    method, where, more = st.columns([5, 5, 2], gap="small")
    with method:
        chosen = _menu(f"{axis.name}_method", known, axis.method, f"How: {_summaries(axis.name)}")
    with where:
        kind = _menu(f"{axis.name}_where", list(KINDS), axis.place, "Where: which matrices it is applied to.")
    with more, _folded(MORE, axis.name, help="More of this method"):
        told = st.container()
        own = more_of(axis.name, chosen, model)
        place = Place(kind, _layers(axis, model, kind))
    at = _slider(axis, chosen, f"{axis.label}{axis.note(model, place)}", above, disabled)
    setting = axis.setting(at) if at != UNTOUCHED[axis.name] or axis.rests() else None
    said = None if setting is None else {"method": chosen, **own, **setting}
    with told:
        explained(axis.name, chosen, model, place.glob, said)
    if said is None:
        return None
    glob = {} if place.glob is None else {"where": place.glob}
    return {**glob, axis.name: said}


def _slider(axis: Axis, chosen: str, label: str, above: DeltaGenerator, disabled: bool) -> int:
    """Its position; while something else is meant in its place, it rests and says what."""
    meant, untouched = axis.rests(), UNTOUCHED[axis.name]
    positions = axis.positions(methods(axis.name)[chosen])
    fit_to(positions, axis.name)
    label = f"{axis.name.capitalize()} {meant}; the slider rests" if meant else label
    return int(above.select_slider(label, positions, untouched, key=axis.name, help=axis.tip, **KEPT,
                                   disabled=disabled or bool(meant),
                                   format_func=lambda one: "untouched" if one == untouched else str(one)))  # fmt: skip


def _layers(axis: Axis, model: Model, kind: str) -> tuple[int, int] | None:
    """Which layers are meant; None: all of them."""
    last = model.layers - 1
    if kind not in IN_BLOCKS or last < 1:
        return None
    key = f"{axis.name}_layers"
    if key in st.session_state:  # another model may have fewer
        st.session_state[key] = tuple(min(one, last) for one in st.session_state[key])
    found = st.slider("Layers", 0, last, (0, last), key=key, help="Only these layers, counted from 0.", **KEPT)
    return None if found == (0, last) else (int(found[0]), int(found[1]))


def _menu(key: str, options: list[Any], default: Any, tip: str) -> Any:
    return st.selectbox(key.replace("_", " ").capitalize(), options, options.index(default), key=key, help=tip,
                        label_visibility="collapsed", **KEPT)  # fmt: skip


def _summaries(axis: str) -> str:
    return "; ".join(f"{name} {one.summary}" for name, one in methods(axis).items())


def read_pinned() -> str | None:
    """The setting that figures are compared with, where one is pinned; it is in the address too."""
    named = st.session_state.setdefault("pinned", st.query_params.get("pinned"))
    if named is None:
        return None
    if st.query_params.get("pinned") != named:
        st.query_params["pinned"] = named
    return _read_pinned(named)


def pin_controls(recipe: str, baseline: Callable[[], Baseline], ticket: Ticket | None) -> None:
    """What figures are compared with, as soon as it is known to fit the model, and the button that changes it."""
    with st.sidebar:
        live(lambda: _compared_with(baseline()), ticket)
        if st.session_state["pinned"] is None:
            st.button("Pin this setting", icon=":material/keep:", on_click=_pin, args=(recipe,),
                      help="Compare what follows with it.")  # fmt: skip
        else:
            st.button("Compare with the base", icon=":material/keep_off:", on_click=_pin, args=(None,))


def _compared_with(baseline: Baseline) -> None:
    told = setting_words(baseline.recipe)
    st.caption(f"Compared with: {told}{', measuring it …' if baseline.pinned and not baseline.points else ''}")


def _pin(recipe: str | None) -> None:
    st.session_state["pinned"] = recipe
    if recipe is None:
        st.query_params.pop("pinned", None)


def _read_pinned(named: str) -> str | None:
    """The pinned recipe; one that cannot be read is told in place, and the base stands in for it."""
    try:
        return Recipe.parse(named).canonical
    except ReparamError as error:
        st.error(f"The pinned setting: {error_words(error)}")
        return None
