"""Undo and redo of the controls, and loading a recipe into them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages.components.words import place_name
from reparam_core.recipes import Recipe
from reparam_core.registry import AXES

UNTOUCHED = {"rank": 100, "sparsity": 0, "bits": 16}
TEXT = "recipe"  # the key of the field where a recipe is typed
KEPT: dict[str, Any] = {"bind": "query-params", "persist_state": "session"}  # in the address, and over pages
LONGEST = 100  # steps that are remembered


def recipe_keys() -> list[str]:
    """The keys of every control that the recipe is made of."""
    prefixes = tuple(f"{axis}_" for axis in AXES)
    return [str(key) for key in st.session_state if str(key) in (*AXES, TEXT) or str(key).startswith(prefixes)]


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
        st.session_state.update(st.session_state.history[place])


def undo_and_redo() -> None:
    """The two buttons, also on z and y (Streamlit takes letters only)."""
    place, known = st.session_state.get("history_place", -1), len(st.session_state.get("history", []))
    st.button("Undo", key="undo", on_click=step, args=(-1,), disabled=place <= 0, icon=":material/undo:",
              shortcut="z", help="The setting before this one.")  # fmt: skip
    st.button("Redo", key="redo", on_click=step, args=(1,), disabled=place >= known - 1, icon=":material/redo:",
              shortcut="y", help="The setting that was undone.")  # fmt: skip


def load_recipe(recipe: str) -> None:
    """Set the controls to a recipe; one that they cannot say goes into the field for recipes as text."""
    found = controls_of(recipe)
    st.session_state.update(UNTOUCHED)
    st.session_state[TEXT] = "" if found is not None else recipe
    st.session_state.update(found or {})


def controls_of(recipe: str) -> dict[str, Any] | None:
    """The controls that say this recipe; None where none do."""
    controls: dict[str, Any] = {}
    for rule in json.loads(Recipe.parse(recipe).canonical)["rules"]:
        place = place_name(rule.get("where"))
        for axis in [axis for axis in AXES if axis in rule]:
            said = _controls_of_step(axis, rule[axis] or {})
            if place is None or said is None or axis in controls:
                return None
            controls |= said | {f"{axis}_where": place}
    return controls


def _controls_of_step(axis: str, raw: Mapping[str, Any]) -> dict[str, Any] | None:
    position = {"rank": "keep", "sparsity": "fraction", "bits": "bits"}[axis]
    if position not in raw or set(raw) - {"method", position, "group"}:
        return None
    value = raw[position] if axis == "bits" else round(100 * raw[position], 6)
    if value != int(value):
        return None
    group = {f"{axis}_group": raw.get("group", "row")} if axis == "bits" else {}
    return {axis: int(value), f"{axis}_method": raw["method"]} | group
