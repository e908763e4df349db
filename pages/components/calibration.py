"""What data-aware methods are calibrated on: its controls, what it is called, and which texts are of its domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from pages.components.history import CALIBRATION, KEPT, READ, calibration_texts
from pages.components.more import fit_to
from pages.components.own import Use, give_own
from pages.components.words import read_words, source_titles
from reparam_core.data import ENTRIES as TEXTS
from reparam_core.data import SENTENCES, TABLES, calibration, fingerprint, fitting
from reparam_core.errors import ReparamError
from reparam_core.models import Model
from reparam_core.recipes import Calibration, Recipe
from reparam_core.written import WRITTEN

USUAL = Calibration()
HELP = ("Methods that look at data measure a matrix's inputs on this text. What is scored must not stand in it: the "
        "shipped ones are kept apart. Try the addresses alone: better on addresses, worse on the novel. A language model "
        "can also write its own, once: at a token a time that takes longer than reading.")  # fmt: skip
# What kinds of text the shipped ones are; of one's own nothing is known.
DOMAINS = {name: one.domains for name, one in TEXTS.items()} | {name: one.domains for name, one in TABLES.items()}
OWN = Use("Calibrate on your own text", "Calibrate on this", "own_calibration", f"{CALIBRATION}text")
LABELS = {"sentences": "Mixed with sentences"}
TIPS = {"sequences": "How many are read: more take longer and are less by chance.", "length": "Of each, in tokens.",
        "sentences": "A share of the sequences is then of reviews, tweets and editorials, and not of this text: better where "
                     "another kind of text is scored, a little worse on its own kind."}  # fmt: skip
_amounts: dict[tuple[str, Calibration, str], tuple[int, int]] = {}


def pick_calibration(model: Model) -> dict[str, Any]:
    """Text and amount in the sidebar, as a recipe has them."""
    texts = [one for one in calibration_texts() if one != WRITTEN or model.writes_text]
    fit_to(texts, f"{CALIBRATION}text")  # another model may write nothing
    titles = source_titles(texts)
    with st.sidebar:
        text = st.selectbox("Calibrated on", texts, key=f"{CALIBRATION}text", format_func=titles.__getitem__, help=HELP,
                            **KEPT)  # fmt: skip
        places = [*st.columns(2), st]
        amount = {name: _amount(place, name) for place, name in zip(places, READ, strict=True)}
        tokens = fitting(model, int(amount["length"]))
        give_own(OWN, tokens, lambda path: calibration(model, str(path), 1, tokens))
        picked = {"text": text, **amount}
        _fewer(model, Calibration(**picked))
    return picked


def _amount(place: Any, name: str) -> float:
    """How many sequences, their length, or which share of them is of sentences."""
    usual = READ[name].index(getattr(USUAL, name))
    found: float = place.selectbox(LABELS.get(name, name.capitalize()), READ[name], usual, key=CALIBRATION + name,
                                   format_func=share_words if name == "sentences" else str, help=TIPS[name], **KEPT)  # fmt: skip
    return found


def share_words(share: float) -> str:
    """`75 %`."""
    return f"{100 * share:g} %" if share else "none"


def _fewer(model: Model, asked: Calibration) -> None:
    """A text or a model that is too short gives less than was asked for, perhaps too little."""
    count, length = amount_of(model, asked)
    if (count, length) != (asked.sequences, asked.length):
        st.caption(f"Read are {count} × {length} tokens: no more is to be had of this text and model.")
    if told := too_few(model, count * length):
        st.caption(told)


def too_few(model: Model, tokens: int) -> str:
    """What is said of fewer tokens than a matrix of the blocks has inputs; nothing of more."""
    widest = max((one.shape[1] for one in model.matrices.values() if one.compressed_by_default), default=0)
    return f"{tokens} tokens do not show all {widest} inputs of a matrix: take more." if tokens < widest else ""


def amount_of(model: Model, asked: Calibration) -> tuple[int, int]:
    """How many sequences of how many tokens are really read; what cannot be read is told where it is asked for."""
    if asked.text == WRITTEN:
        return asked.sequences, fitting(model, asked.length)
    name = (model.sha256, asked, fingerprint(asked.text))
    if name not in _amounts:
        try:
            ids = calibration(model, asked.text, asked.sequences, asked.length, asked.offset, asked.sentences).ids
        except ReparamError:
            return asked.sequences, asked.length
        _amounts[name] = (ids.shape[0], ids.shape[1])
    return _amounts[name]


def in_domain(read: Calibration, source: str) -> bool | None:
    """Is what is scored of the domain of what was calibrated on? None where that is not known."""
    texts = [read.text, *([SENTENCES] if read.sentences else [])]
    if source not in DOMAINS:
        return None
    if any(DOMAINS[source] & DOMAINS.get(one, frozenset()) for one in texts):
        return True
    return None if read.text not in DOMAINS else False


def calibration_note(model: Model, recipe: str, sources: Sequence[str] = ()) -> str:
    """`calibrated on 64 × 512 tokens of the mixture (in domain: addresses; out of it: moby-dick)`; empty where none is read."""
    parsed = Recipe.parse(recipe)
    if not parsed.reads:
        return ""
    count, length = amount_of(model, parsed.calibration)
    domains = {"in domain": True, "out of it": False}
    told = [f"{words}: {' and '.join(found)}" for words, whether in domains.items()
            if (found := [one for one in sources if in_domain(parsed.calibration, one) is whether])]  # fmt: skip
    domain = f" ({'; '.join(told)})" if told else ""
    return f"calibrated on {count} × {length} tokens of {read_words(parsed.calibration)}{domain}"
