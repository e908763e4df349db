"""What is rewritten before any slider: the control in the sidebar, with formula, paper and reference card."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.components.history import AS_IS, KEPT, REWRITE
from pages.components.more import fit_to, paper_of, say_how_long
from pages.components.reference_card import reference_card
from reparam_core.apply import suited
from reparam_core.models import Model
from reparam_core.registry import transforms

TIP = ("Other numbers that compute the same, before anything is compressed: what the sliders then do may cost less, or more. "
       "Only decoders with RMSNorm can be rewritten. Try rotate.")  # fmt: skip


def pick_rewrite(model: Model, disabled: bool) -> dict[str, Any]:
    """What stands before the rules, as a recipe has it; no control where no rewrite keeps the model's function."""
    known = [AS_IS, *suited(model)]
    if len(known) == 1:
        return {}
    fit_to(known, REWRITE)
    with st.sidebar:
        chosen = st.selectbox("Rewrite first", known, key=REWRITE, help=TIP, disabled=disabled, **KEPT)
        if chosen == AS_IS:
            return {}
        with st.popover(f"About {chosen}", width="stretch", icon=":material/function:"):
            kind = transforms()[chosen]
            st.markdown(f"**{chosen}** {kind.summary}. :gray[{paper_of(kind)}]")
            st.latex(rf"\begin{{gathered}}{kind.formula}\end{{gathered}}")
            reference_card(chosen)
            if kind.needs:
                say_how_long(model, kind())
    return {"transform": [{"method": chosen}]}
