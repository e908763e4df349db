"""A method's reference card: what is published of it, and its authors' code beside this one on one protocol."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from reparam_core.data.cards import Card, Run, card, protocol

COLUMNS = {
    "recipe": st.column_config.TextColumn("Recipe", width=150),
    "text": st.column_config.TextColumn("Perplexity on", width=130),
    "reference": st.column_config.TextColumn("Authors' code", width=80),
    "here": st.column_config.TextColumn("Here", width=70),
    "ratio": st.column_config.TextColumn("Ratio", width=50),
    "delta": st.column_config.TextColumn("Δ nats (95 %)", width=120),
}


def reference_card(method: str) -> None:
    """Folded: figures with their conditions, and which of them nobody ran."""
    found = card(method)
    with st.expander("Reference card", icon=":material/fact_check:"):
        for one in found.published:
            st.caption(f"**Published.** {one.claim}. :gray[{one.source}]")
        rows = rows_of(found)
        if rows:
            st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=COLUMNS)
            st.caption(f"**Protocol.** {protocol()['protocol']}. Authors' code: {protocol()['code']}. The goal is a ratio of "
                       "at most 1.02; Δ is against the untouched model, paired.")  # fmt: skip
        if not any(one.reference for one in found.runs):
            st.caption("No reference run: its tests against the definition stand for it.")


def rows_of(found: Card) -> list[dict[str, str]]:
    """A row a recipe and text of which something is known."""
    texts = protocol()["texts"]
    return [_row(run, text, texts[text]["title"]) for run in found.runs for text in texts
            if text in run.reference or text in run.perplexity]  # fmt: skip


def _row(run: Run, text: str, title: str) -> dict[str, str]:
    ratio, interval = run.ratio(text), run.delta_nll.get(text)
    return {
        "recipe": run.recipe,
        "text": title,
        "reference": f"{run.reference[text]:.4g}" if text in run.reference else "not run",
        "here": f"{run.perplexity[text]:.4g}" if text in run.perplexity else "not run",
        "ratio": f"{ratio:.3f}" if ratio else "–",
        "delta": f"{interval[0]:+.2f} to {interval[1]:+.2f}" if interval else "–",
    }
