"""The controls that every page has: which model, and what is done to it."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from reparam_core import ReparamError
from reparam_core.data import ENTRIES as TEXTS
from reparam_core.models import ENTRIES, Model, load
from reparam_core.registry import methods

PLACES = {
    "Attention Q/K/V": "*attention.{q,k,v}",
    "Attention": "*{attention,cross}.*",
    "MLP": "*mlp.*",
    "Blocks": None,
    "Embedding": "embedding",
    "Everything": "*",
}


@st.cache_resource(show_spinner="Loading the model …")
def loaded(name: str) -> Model:
    """One a process, shared by every session."""
    return load(name)


def pick_model(causal_only: bool = False) -> Model:
    """The model picker in the sidebar; stops the page with a line where the model cannot be had."""
    there = [name for name, entry in ENTRIES.items() if entry.source is not None]
    if causal_only:
        there = [name for name in there if name in ("embedded-decoder", "smollm2-135m-instruct")]
    if not there:
        st.error("No model is on this machine. " + "Train the embedded ones with: make assets")
        st.stop()
    with st.sidebar:
        name = st.selectbox("Model", there, key="model", bind="query-params", persist_state="session",
                            help="The model whose weights are rewritten.")  # fmt: skip
        st.caption(ENTRIES[name].summary)
    try:
        return loaded(name)
    except ReparamError as error:
        st.error(str(error))
        st.stop()


def pick_text() -> str:
    """The text that quality is measured on."""
    with st.sidebar:
        return st.selectbox("Text", ["addresses", "moby-dick", "reviews"], key="text", bind="query-params",
                            persist_state="session", format_func=lambda name: TEXTS[name].title,
                            help="Perplexity is measured on this text; another text gives another number.")  # fmt: skip


def pick_recipe() -> str:
    """The three sliders with their methods and places, as recipe JSON."""
    rank, sparsity, bits = st.columns(3)
    with rank:
        keep = _slider(
            "Rank kept, % of full", "rank", 100, 5, 100, 5, "Fewer ranks: fewer numbers once below break-even."
        )
        one = _step("rank", "svd", "Attention Q/K/V", {"keep": keep / 100} if keep < 100 else None)
    with sparsity:
        zeroed = _slider("Sparsity, % zeroed", "sparsity", 0, 0, 95, 5, "More zeros: fewer bytes, no faster product.")
        two = _step("sparsity", "magnitude", "Blocks", {"fraction": zeroed / 100} if zeroed else None)
    with bits:
        width = _slider("Bits a number, 16 = untouched", "bits", 16, 2, 16, 1, "Fewer bits: coarser numbers. Try 4.")
        three = _step("bits", "rtn", "Blocks", {"bits": min(width, 8), "group": 64} if width < 16 else None)
    return json.dumps({"rules": [rule for rule in (one, two, three) if rule]}, sort_keys=True)


def _slider(label: str, key: str, default: int, low: int, high: int, step: int, tip: str) -> int:
    return st.slider(label, low, high, default, step, key=key, bind="query-params", persist_state="session", help=tip)


def _choice(label: str, options: list[str], default: str) -> str:
    return st.selectbox(label, options, options.index(default), key=label.replace(" ", "_"), bind="query-params",
                        persist_state="session", label_visibility="collapsed")  # fmt: skip


def _step(axis: str, method: str, place: str, setting: dict[str, Any] | None) -> dict[str, Any] | None:
    left, right = st.columns(2)
    known = list(methods(axis))
    with left:
        chosen = _choice(f"{axis} method", known, method)
    with right:
        where = _choice(f"{axis} where", list(PLACES), place)
    st.caption(methods(axis)[chosen].summary)
    if setting is None:
        return None
    glob = {} if PLACES[where] is None else {"where": PLACES[where]}
    return {**glob, axis: {"method": chosen, **setting}}
