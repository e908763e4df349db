"""What a page says of a mistake: with the names that its user gave, and the controls that are at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping

import streamlit as st

from reparam_core import ReparamError
from reparam_core.data import own_title

OWN = r"own-[0-9a-f]{8}-[\w-]+\.(?:txt|csv)"
NAMED = re.compile(rf"'[^']*?({OWN})'|(?:\S*[/\\])?({OWN})")  # quoted, where a folder's name may have spaces, or bare
MARKS = re.compile(r"([\\*_`$~\[\]])")  # of markdown
REMEDIES = {
    "overlap": "Choose another text under “Calibrated on” or “Scored on”.",
    "short": "Give a longer text; where it is what is calibrated on, a smaller “Length” does too.",
    "tokenizer": "Choose a model with one.",
}


def error_words(error: ReparamError, remedies: Mapping[str, str] = REMEDIES) -> str:
    """The error's line as markdown, with the remedy of its topic.

    The user's own texts are called by their titles, not by where they are kept.
    """
    line = f"{error.problem} {remedies.get(error.topic, error.remedy)}".strip()
    return literal(NAMED.sub(lambda found: f"“{own_title(found[1] or found[2])}”", line))


def literal(text: str) -> str:
    """The text as markdown that shows it letter by letter."""
    return MARKS.sub(r"\\\1", text)


def show_error(error: ReparamError, remedies: Mapping[str, str] = REMEDIES) -> None:
    """Say in place what went wrong, and what helps where it stands."""
    st.error(error_words(error, remedies))
