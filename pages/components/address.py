"""What the address says: it goes along to whichever page runs, and what no control understands is told in place."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.state.common import WidgetMetadata

from reparam_core.errors import MOST_QUOTED, shortened

UNBOUND = ("pinned", "role")  # pages put these into the address themselves, as no single control holds them


def read_address() -> None:
    """Before the controls are drawn: what the link said, or was made of it since, is there on whichever page runs.

    Streamlit itself forgets it where one goes to another page before a session's first runs have come to their end.
    """
    given: dict[str, list[str]] = st.session_state.setdefault("address", _address())
    st.session_state.setdefault("unheard", dict(given))
    here = _page()
    st.session_state.setdefault("landing", here)
    _judge()
    if st.session_state.get("drawn_page") == here:
        return
    if st.session_state.get("last_page", here) != here:
        given |= {key: _taken_off(key) for key in given if key in st.session_state and _control(key)}
        st.session_state.pop("unknown", None)
    st.session_state["last_page"] = here
    missing = {key: said for key, said in given.items() if key not in st.query_params and not _taken(key)}
    if missing:
        st.query_params.update(missing)
        st.rerun()  # a control starts from what stands in the address as a run begins


def _taken_off(key: str) -> list[str]:
    """What a control of the page before holds, now that it is gone."""
    context = get_script_run_ctx()
    if context and _bound(key):
        with context.session_state.query_params() as known:
            known.unbind_widget(known._bindings_by_param[key].widget_id)
    return _shown(key, st.session_state[key])


def misread(drawn: bool = True) -> list[str]:
    """After the controls are drawn: what was not understood and what stands in its place, until that is changed."""
    _judge()
    if drawn:
        first = st.session_state.get("drawn_page") != _page()
        st.session_state["drawn_page"] = _page()
        _dismiss()
        if first:
            _complete()
    found: dict[str, tuple[list[str], Any]] = st.session_state["misread"]
    for key in [one for one, (_, value) in found.items() if st.session_state.get(one) != value]:
        del found[key]
    unknown: dict[str, list[str]] = st.session_state.setdefault("unknown", {})
    return [*(f"{_repeated(key, said)} ({shortened(_told(key, value), MOST_QUOTED)} is used)" for key, (said, value) in found.items()),
            *(f"{_repeated(key, said)} (no control here takes it)" for key, said in unknown.items())]  # fmt: skip


def _repeated(key: str, said: list[str]) -> str:
    return f"{shortened(key, MOST_QUOTED)}={shortened(','.join(said), MOST_QUOTED)}"


def say_misread(drawn: bool = True) -> None:
    """One line for all of it, which can be put away; `drawn`: is every control there by now?"""
    told = misread(drawn)
    if told:
        line, away = st.columns([20, 1], vertical_alignment="center")
        line.caption(f":material/link_off: **Not understood in the address:** {'; '.join(told)}.")
        away.button("", icon=":material/close:", key="put-away", type="tertiary", help="Put this line away.",
                    on_click=_put_away)  # fmt: skip


def _put_away() -> None:
    st.session_state["misread"].clear()
    st.session_state["unknown"].clear()


def _address() -> dict[str, list[str]]:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def _page() -> str:
    context = get_script_run_ctx()
    return context.page_script_hash if context else ""


def _judge() -> None:
    """Compare what was said with what the controls hold, once for each that is drawn."""
    unheard: dict[str, list[str]] = st.session_state["unheard"]
    found: dict[str, tuple[list[str], Any]] = st.session_state.setdefault("misread", {})
    for key in [one for one in unheard if one in st.session_state and _taken(one)]:
        said, value = unheard.pop(key), st.session_state[key]
        if st.query_params.get_all(key) != said and not _says(said, key, value):
            found[key] = (said, value)


def _dismiss() -> None:
    """What no control took leaves the address; on another page than the link's own it may be meant for that one."""
    given, unheard = st.session_state["address"], st.session_state["unheard"]
    strange = [key for key in given if key in st.query_params and not _taken(key)]
    for key in strange:
        del st.query_params[key]
    if _page() == st.session_state["landing"]:
        unknown = st.session_state.setdefault("unknown", {})
        unknown |= {key: given.pop(key) for key in strange if unheard.pop(key, None)}


def _complete() -> None:
    """What controls of this page were set to before they were first drawn: Streamlit writes only what is set later."""
    context = get_script_run_ctx()
    if context is None:
        return
    with context.session_state.query_params() as known:
        missing = [key for key in known._bindings_by_param if not known.has_param(key) and key in st.session_state]
        for key in missing:
            control, value = _control(key), st.session_state[key]
            if control is not None and value != control.deserializer(None):
                known.set_corrected_value(key, control.serializer(value), control.value_type)


def _taken(key: str) -> bool:
    """Did a control of this page, or the page itself, take it up?"""
    return _bound(key) or (key in UNBOUND and key in st.session_state)


def _bound(key: str) -> bool:
    """Does a control of this page hold this place in the address?"""
    context = get_script_run_ctx()
    if context is None:
        return False
    with context.session_state.query_params() as known:
        return known.is_bound(key)


def _control(key: str) -> WidgetMetadata[Any] | None:
    """What Streamlit knows of the control of that key, drawn just now or on another page."""
    context = get_script_run_ctx()
    if context is None:
        return None
    state = context.session_state._state
    name = state.get_widget_id_from_key(key)
    return state.get_widget_metadata(name) if name else None


def _says(said: list[str], key: str, value: Any) -> bool:
    """Does a control that holds its default, and so leaves the address, hold just what the address said?"""
    held = [str(one) for one in (value if isinstance(value, tuple | list) else [value])]
    return any(len(said) == len(one) and all(map(_same, said, one)) for one in (held, _shown(key, value)))


def _same(said: str, shown: str) -> bool:
    try:
        return math.isclose(float(said), float(shown))
    except ValueError:
        return said.casefold() == shown.casefold()


def _shown(key: str, value: Any) -> list[str]:
    """As its control shows it, which is also how the address has it."""
    control = _control(key)
    held = control.serializer(value) if control else value
    return [f"{one:g}" if isinstance(one, float) else str(one) for one in (held if isinstance(held, list) else [held])]


def _told(key: str, value: Any) -> str:
    return {"True": "on", "False": "off"}.get(str(value)) or " to ".join(_shown(key, value))
