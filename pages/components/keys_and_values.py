"""In how many bits attention keeps the keys and values of the tokens before: the control in the sidebar."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.components.history import CACHE, KEPT, UNTOUCHED
from reparam_core.apply import cached_roles
from reparam_core.models import Model

BITS = (UNTOUCHED[CACHE], 8, 6, 5, 4, 3, 2)
TIP = ("What a model that writes token by token remembers of each: rounded in groups of 64, keys before they are turned to their "
       "place. The file stays as it is; the panel on claims counts the bytes of a token. Try 4.")  # fmt: skip


def pick_cache(model: Model, disabled: bool) -> dict[str, Any]:
    """How keys and values are kept, as a recipe has it; no control where the model keeps none."""
    if not cached_roles(model):
        return {}
    with st.sidebar:
        bits = st.selectbox("Bits of keys and values", BITS, key=CACHE, help=TIP, disabled=disabled, **KEPT,
                            format_func=lambda one: "untouched" if one == UNTOUCHED[CACHE] else str(one))  # fmt: skip
    return {} if bits == UNTOUCHED[CACHE] else {"cache": {"bits": bits}}
