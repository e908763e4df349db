"""What data-aware methods are calibrated on: its controls, what it is called, and which texts are of its domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from pages.components.history import CALIBRATION, KEPT, READ, calibration_texts
from pages.components.more import fit_to
from pages.components.words import source_titles, source_words
from reparam_core.data import ENTRIES as TEXTS
from reparam_core.data import TABLES, calibration, fingerprint, fitting
from reparam_core.errors import ReparamError
from reparam_core.models import Model
from reparam_core.recipes import Calibration, Recipe
from reparam_core.written import WRITTEN

USUAL = Calibration()
HELP = ("Methods that look at data measure a matrix's inputs on this text. What is scored must not stand in it: the "
        "shipped ones are kept apart. Try the addresses alone: better on addresses, worse on the novel. A language model "
        "can also write its own, once: at a token a time that takes longer than reading.")  # fmt: skip
HELP = ("Methods that look at data measure a matrix's inputs on this text. What is scored must not stand in it: the "
        "shipped ones are kept apart. Try the addresses alone: better on addresses, worse on the novel. A language model "
        "can also write its own, once: at a token a time that takes longer than reading.")  # fmt: skip
# What kinds of text the shipped ones are; of one's own nothing is known.
DOMAINS = {name: one.domains for name, one in TEXTS.items()} | {name: one.domains for name, one in TABLES.items()}
_amounts: dict[tuple[str, Calibration, str], tuple[int, int]] = {}


def pick_calibration(model: Model) -> dict[str, Any]:
    """Text and amount in the sidebar, as a recipe has them."""
    texts = [one for one in calibration_texts() if one != WRITTEN or model.objective == "causal"]
    fit_to(texts, f"{CALIBRATION}text")  # another model may write nothing
    titles = source_titles(texts)
    with st.sidebar:
        text = st.selectbox("Calibrated on", texts, key=f"{CALIBRATION}text", format_func=titles.__getitem__, help=HELP,
                            **KEPT)  # fmt: skip
        columns = st.columns(2)
        amount = {name: _amount(column, name) for column, name in zip(columns, READ, strict=True)}
        picked = {"text": text, **amount}
        _fewer(model, Calibration(**picked))
    return picked


def _amount(column: Any, name: str) -> int:
    """How many sequences, or their length."""
    tip = {"sequences": "How many are read: more take longer and are less by chance.", "length": "Of each, in tokens."}
    usual = READ[name].index(getattr(USUAL, name))
    return int(column.selectbox(name.capitalize(), READ[name], usual, key=CALIBRATION + name, help=tip[name], **KEPT))


def _fewer(model: Model, asked: Calibration) -> None:
    """A text or a model that is too short gives less than was asked for."""
    count, length = amount_of(model, asked)
    if (count, length) != (asked.sequences, asked.length):
        st.caption(f"Read are {count} × {length} tokens: no more is to be had of this text and model.")


def amount_of(model: Model, asked: Calibration) -> tuple[int, int]:
    """How many sequences of how many tokens are really read; what cannot be read is told where it is asked for."""
    if asked.text == WRITTEN:
        return asked.sequences, fitting(model, asked.length)
    name = (model.sha256, asked, fingerprint(asked.text))
    if name not in _amounts:
        try:
            ids = calibration(model, asked.text, asked.sequences, asked.length, asked.offset).ids
        except ReparamError:
            return asked.sequences, asked.length
        _amounts[name] = (ids.shape[0], ids.shape[1])
    return _amounts[name]


def in_domain(text: str, source: str) -> bool | None:
    """Is what is scored of the domain of what was calibrated on? None where that is not known."""
    if text not in DOMAINS or source not in DOMAINS:
        return None
    return bool(DOMAINS[text] & DOMAINS[source])


def calibration_note(model: Model, recipe: str, sources: Sequence[str] = ()) -> str:
    """`calibrated on 64 × 512 tokens of the mixture (in domain: addresses; out of it: moby-dick)`; empty where none is read."""
    parsed = Recipe.parse(recipe)
    if not parsed.reads:
        return ""
    count, length = amount_of(model, parsed.calibration)
    text = parsed.calibration.text
    domains = {"in domain": True, "out of it": False}
    told = [f"{words}: {' and '.join(found)}" for words, whether in domains.items()
            if (found := [one for one in sources if in_domain(text, one) is whether])]  # fmt: skip
    domain = f" ({'; '.join(told)})" if told else ""
    return f"calibrated on {count} × {length} tokens of {source_words(text)}{domain}"
