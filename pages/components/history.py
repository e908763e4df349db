"""Undo and redo of the controls, and loading a recipe into them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from pages.components.places import place_of
from reparam_core.data import ENTRIES as TEXTS
from reparam_core.data import own_sources
from reparam_core.methods.base import Method
from reparam_core.recipes import Cache, Calibration, Recipe, Step
from reparam_core.registry import AXES, splits
from reparam_core.written import WRITTEN

RANK_UNITS = {"keep": "of full rank", "parameters": "of the numbers", "energy": "of the energy"}
ROW = "row"  # a grid each, which a recipe does not name
ONE = "one"  # number is zeroed or kept by itself, not a square of them
BLOCKS = (ONE, 4, 8, 16, 32)  # sides of such squares
GROUPS: list[Any] = [32, 64, 128, ROW, "tensor"]
SHARE = "share"  # of zeros, as the slider says it; else a pattern, with which the slider rests
PATTERNS = {SHARE: "a share, by the slider", "2:4": "2 of every 4 kept", "4:8": "4 of every 8 kept",
            "1:4": "1 of every 4 kept"}  # fmt: skip
STATISTICS = {"one-shot": "of the untouched model", "sequential": "block by block (sequential)"}
SAME = "same"  # the setting is not spread over the matrices
SPLITS = {axis: {SAME: "the same for each", **{name: f"by {name}: {one.summary}" for name, one in splits(axis).items()}}
          for axis in AXES}  # fmt: skip
CALIBRATED_ON = [name for name, one in TEXTS.items() if not one.scores]
READ: dict[str, tuple[float, ...]] = {"sequences": (16, 32, 64, 128), "length": (128, 256, 512, 1024),
                                      "sentences": (0.0, 0.25, 0.5, 0.75)}  # fmt: skip
CALIBRATION = "calibration_"  # how the keys of its controls begin
UNTOUCHED = {"rank": 100, "sparsity": 0, "bits": 16, "cache": 16}
REWRITE = "transform"  # the key of the control for what comes before the rules
CACHE = "cache"  # the key of the control for how many bits keys and values have
OF_THE_WHOLE = (REWRITE, CACHE)  # keys of what no matrix is chosen for
AS_IS = "nothing"  # is rewritten first
TEXT = "recipe"  # the key of the field where a recipe is typed
KEPT: dict[str, Any] = {"bind": "query-params", "persist_state": "session"}  # in the address, and over pages
FITTED = "fitted"  # where the session notes what was wanted of menus that do not offer it
HEARD = "heard"  # the key of the control that says what the browser knows of
LONGEST = 100  # steps that are remembered


def of_a_recipe(key: str) -> bool:
    """Is it a control of what is done to the model? A recipe also names the text that this reads."""
    return key in (*AXES, *OF_THE_WHOLE, TEXT) or key.startswith(tuple(f"{axis}_" for axis in AXES))


def recipe_keys() -> list[str]:
    """The keys of every control that the recipe is made of: what is done, and what text that reads."""
    return [key for key in map(str, st.session_state) if of_a_recipe(key) or key.startswith(CALIBRATION)]


def remember() -> None:
    """Note the controls' state where it is new."""
    state = {key: st.session_state[key] for key in recipe_keys()}
    history: list[dict[str, Any]] = st.session_state.setdefault("history", [])
    place = st.session_state.setdefault("history_place", -1)
    if place < 0 or history[place] != state:
        st.session_state.history = [*history[: place + 1], state][-LONGEST:]
        st.session_state.history_place = len(st.session_state.history) - 1


def step(by: int) -> None:
    """One step back or forth."""
    place = st.session_state.get("history_place", -1) + by
    if 0 <= place < len(st.session_state.get("history", [])):
        st.session_state.history_place = place
        restore(st.session_state.history[place])


def restore(state: Mapping[str, Any]) -> None:
    """Set the recipe's controls; what the state does not name goes back to its default."""
    held: dict[str, tuple[list[Any], Any]] = st.session_state.setdefault("held", {})
    for key in recipe_keys():
        sent, _ = held.get(key, ([], None))
        before = st.session_state[key]
        held[key] = (sent if before in sent else [*sent, before], state.get(key))
        if key not in state:
            del st.session_state[key]
    st.session_state.update(state)
    st.session_state.pop(FITTED, None)  # what is set is what is wanted
    st.session_state["told"] = st.session_state.get("told", 0) + 1


def is_folded(key: str) -> bool:
    """Does this control lie in a popover? Sliders, methods and places do not, nor what is in the sidebar."""
    return (
        key not in (*AXES, *OF_THE_WHOLE)
        and not key.startswith(CALIBRATION)
        and not key.endswith(("_method", "_where"))
    )


def steady() -> None:
    """Before the controls are drawn: what the browser sends without having heard what was set does not count.

    A closed popover hears nothing and goes on sending what it held. The others hear it once the page is drawn: until then
    what the browser asks for by the clock still has the values before, and would take back a load or an undo.
    """
    heard = st.session_state.get(HEARD, _told()) == _told()
    for key, (sent, meant) in st.session_state.get("held", {}).items():
        stale = is_folded(key) or not heard
        if stale and key in st.session_state and st.session_state[key] in sent and st.session_state[key] != meant:
            if meant is None:
                del st.session_state[key]
            else:
                st.session_state[key] = meant


def listen() -> None:
    """After the controls are drawn: an unseen one, by which the browser says how often it has heard them set."""
    st.session_state[HEARD] = _told()
    with st.container(key="unseen"):
        st.html("<style>.st-key-unseen { display: none; }</style>")
        st.text_input("Heard", key=HEARD)


def _told() -> str:
    return str(st.session_state.get("told", 0))


def back_to_sliders() -> None:
    """Leave the recipe that was typed; the sliders count again."""
    restore({key: st.session_state[key] for key in recipe_keys()} | {TEXT: ""})


def unfolded(prefix: str) -> None:
    """Controls of an open popover hear what is set: what they send from now on is meant."""
    held: dict[str, Any] = st.session_state.get("held", {})
    for key in [one for one in held if one.startswith(prefix) and is_folded(one)]:
        del held[key]


def undo_and_redo() -> None:
    """The two buttons, also on z and y (Streamlit takes letters only)."""
    place, known = st.session_state.get("history_place", -1), len(st.session_state.get("history", []))
    covers = "Steps through recipes: model, text and what is pinned stay."
    st.button("Undo", key="undo", on_click=step, args=(-1,), disabled=place <= 0, icon=":material/undo:",
              shortcut="z", help=f"The recipe before this one. {covers}")  # fmt: skip
    st.button("Redo", key="redo", on_click=step, args=(1,), disabled=place >= known - 1, icon=":material/redo:",
              shortcut="y", help=f"The recipe that was undone. {covers}")  # fmt: skip


def load_recipe(recipe: str) -> None:
    """Set the controls to a recipe; one that they cannot say goes into the field for recipes as text."""
    found = controls_of(recipe)
    restore({**UNTOUCHED, TEXT: "" if found is not None else recipe, **(found or {})})


def load_picked(key: str) -> None:
    """The recipe that a menu of that key picked, once: the menu says again what it is for."""
    picked, st.session_state[key] = st.session_state[key], None
    if picked:
        load_recipe(picked)


def controls_of(recipe: str) -> dict[str, Any] | None:
    """The controls that say this recipe; None where none do."""
    parsed = Recipe.parse(recipe)
    controls = _controls_of_calibration(parsed.calibration) if parsed.reads else dict[str, Any]()
    if parsed.storage is not None or controls is None or len(parsed.transform) > 1:
        return None
    for one in parsed.transform:
        if one.own_fields():
            return None
        controls[REWRITE] = one.name
    if parsed.cache is not None:
        if parsed.cache != Cache(bits=parsed.cache.bits):
            return None
        controls[CACHE] = parsed.cache.bits
    for rule in parsed.rules:
        place = place_of(rule.where)
        for axis, step in rule.steps.items():
            said = _controls_of_step(step) if step else None
            if place is None or said is None or axis in controls:
                return None
            controls |= said | {f"{axis}_where": place.kind}
            controls |= {f"{axis}_layers": place.layers} if place.layers else {}
    return controls


def groups_of(kind: type[Method]) -> list[Any]:
    """What shares a grid, as far as a method of the bits axis can be told."""
    known = kind.groups
    return [one for one in GROUPS if known is None or (None if one == ROW else one) in known]


def calibration_texts() -> list[str]:
    """The shipped ones, what the model writes, and the user's own."""
    return [*CALIBRATED_ON, WRITTEN, *own_sources(".txt")]


def _controls_of_calibration(told: Calibration) -> dict[str, Any] | None:
    known = told.text in calibration_texts() and all(getattr(told, name) in values for name, values in READ.items())
    if not known or told.offset:
        return None
    return {CALIBRATION + name: getattr(told, name) for name in ("text", *READ)}


def _controls_of_step(step: Step) -> dict[str, Any] | None:
    """The slider, its menus and the method's own fields; None where the slider has no such position."""
    said = None if step.shrinkage else POSITIONS[step.axis](step.setting.model_dump())  # shrinkage has no control
    if said is None or ("bits_group" in said and said["bits_group"] not in groups_of(type(step.method))):
        return None
    own = {f"{step.axis}_{step.method.name}_{name}": value for name, value in step.own_fields().items()}
    own |= {f"{step.axis}_statistics": step.statistics} if step.method.needs else {}
    own |= {f"{step.axis}_split": step.split.name} if step.split else {}
    return said | own | {f"{step.axis}_method": step.method.name}


def _rank_position(setting: Mapping[str, Any]) -> dict[str, Any] | None:
    unit = next((name for name in RANK_UNITS if setting[name] is not None), None)
    position = _percent(setting[unit]) if unit else None
    return None if position is None or not 1 <= position <= 100 else {"rank": position, "rank_unit": unit}


def _sparsity_position(setting: Mapping[str, Any]) -> dict[str, Any] | None:
    if setting["pattern"] is not None:
        return {"sparsity_pattern": setting["pattern"]} if setting["pattern"] in PATTERNS else None
    position = None if setting["fraction"] is None else _percent(setting["fraction"])
    block = setting["block"] or ONE
    return None if position is None or block not in BLOCKS else {"sparsity": position, "sparsity_block": block}


def _bits_position(setting: Mapping[str, Any]) -> dict[str, Any] | None:
    return {"bits": setting["bits"], "bits_group": setting["group"] or ROW, "bits_symmetric": setting["symmetric"]}


def _percent(share: float) -> int | None:
    """The slider's whole per cent; None where it is none."""
    return round(100 * share) if math.isclose(100 * share, round(100 * share), abs_tol=1e-6) else None


POSITIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any] | None]] = {
    "rank": _rank_position, "sparsity": _sparsity_position, "bits": _bits_position}  # fmt: skip
