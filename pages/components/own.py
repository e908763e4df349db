"""A popover in which the user gives a text or a table of their own, to be chosen in a menu."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from pages.components.errors import show_error
from reparam_core.data import keep_own
from reparam_core.errors import ReparamError

CHOSEN = "own_chosen"  # where the session keeps it until its menu is drawn
WORDS_A_TOKEN = 0.75  # of English


@dataclass(frozen=True)
class Use:
    """What it is given for: how the popover and its button say so, how its keys begin, and the menu that then shows it."""

    label: str
    button: str
    key: str
    menu: str
    suffixes: Sequence[str] = (".txt",)


def give_own(use: Use, tokens: int, suits: Callable[[Path], object]) -> None:
    """A text of at least so many tokens, pasted or from a file, or a labelled table; kept where `suits` raises nothing."""
    least = f"{tokens} tokens, about {round(WORDS_A_TOKEN * tokens, -1):.0f} words"
    texts = ".txt" in use.suffixes
    with st.popover(use.label, width="stretch", icon=":material/upload_file:"):
        pasted = st.text_area(f"Paste a text of at least {least}", key=f"{use.key}_text") if texts else ""
        given = st.file_uploader("Or a file" if texts else "A CSV with the columns text and label",
                                 [one[1:] for one in use.suffixes], key=f"{use.key}_file")  # fmt: skip
        if st.button(use.button, key=f"{use.key}_use", disabled=not (pasted or given)):
            try:
                content = given.getvalue() if given else pasted.encode()
                suffix = ".csv" if given and given.name.lower().endswith(".csv") else ".txt"
                name = given.name.rpartition(".")[0] if given else ""
                st.session_state[CHOSEN] = (use.menu, str(keep_own(content, suffix, name, suits)))
                st.rerun()
            except ReparamError as error:
                show_error(error, {"short": f"Give at least {least}."})
