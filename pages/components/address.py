"""What the address says that no control understands: told in place, since the controls pass over it without a word."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from pages.components.history import SPOKEN, UNTOUCHED
from pages.components.words import source_titles


def read_address() -> None:
    """Before the controls are drawn, once a session: they take out of the address what they do not understand."""
    if "address" not in st.session_state:
        st.session_state["address"] = {key: st.query_params.get_all(key) for key in st.query_params}


def misread() -> list[str]:
    """After the controls are drawn: what was not understood and what stands in its place, until that is changed."""
    given: dict[str, list[str]] = st.session_state["address"]
    found: dict[str, tuple[list[str], Any]] = st.session_state.setdefault("misread", {})
    for key in [one for one in given if one in st.session_state]:
        said, value = given.pop(key), st.session_state[key]
        if st.query_params.get_all(key) != said and not _says(said, value):
            found[key] = (said, value)
    for key in [one for one, (_, value) in found.items() if st.session_state.get(one) != value]:
        del found[key]
    return [f"{key}={','.join(said)} ({_told(key, value)} is used)" for key, (said, value) in found.items()]


def say_misread() -> None:
    """One line for all of it, which can be put away."""
    told = misread()
    if told:
        line, away = st.columns([20, 1], vertical_alignment="center")
        line.caption(f":material/link_off: **Not understood in the address:** {'; '.join(told)}.")
        away.button("", icon=":material/close:", key="put-away", type="tertiary", help="Put this line away.",
                    on_click=st.session_state["misread"].clear)  # fmt: skip


def _says(said: list[str], value: Any) -> bool:
    """Does a control that holds its default, and so leaves the address, hold just what the address said?"""
    values = list(value) if isinstance(value, tuple | list) else [value]
    return len(said) == len(values) and all(map(_same, said, values))


def _same(said: str, value: Any) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return math.isclose(float(said), value)
        except ValueError:
            return False
    return said.casefold() in {str(value).casefold(), _spoken(value).casefold()}


def _spoken(value: Any) -> str:
    """As its menu shows it."""
    return SPOKEN.get(str(value)) or source_titles([str(value)])[str(value)]


def _told(key: str, value: Any) -> str:
    return "untouched" if UNTOUCHED.get(key) == value else _spoken(value)
