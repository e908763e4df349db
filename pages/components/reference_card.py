"""A method's reference card: what it needs, what is published of it, and its authors' code beside this one on one protocol."""

from __future__ import annotations

import streamlit as st

from reparam_core.data.cards import Card, Run, card, protocol
from reparam_core.methods.needed import needs
from reparam_core.registry import methods, transforms

HEADINGS = {"recipe": "Recipe", "reference": "Authors'", "here": "Here", "rise": "Rise (95 %)", "gap": "Gap (95 %)"}
RISE = "Rise: this code's loss above the untouched model's in nats, paired token by token."
GAP = ("Gap: ln(here / authors') in nats, so that +0.02 is 2 % more, which is the most that is aimed at. Its interval counts the "
       "text's chance in this code's figure alone, as the authors' losses are not known token by token: a paired one would be "
       "narrower.")  # fmt: skip


def reference_card(method: str) -> None:
    """Folded: needs, figures with their conditions, and which of them nobody ran."""
    found = card(method)
    with st.expander("Reference card", icon=":material/fact_check:"):
        st.caption(f"**Needs.** {needs(transforms().get(method) or methods()[method])}.")
        for one in found.published:
            st.caption(f"**Published.** {one.claim}. :gray[{one.source}]")
        if not found.published:
            st.caption("**Published.** No headline figure of its own was found.")
        tables = {text: rows_of(found, text) for text in protocol()["texts"]}
        for text, rows in tables.items():
            if rows:
                st.caption(f"**Perplexity on {protocol()['texts'][text]['title']}**")
                st.markdown(table_of(rows))
        if any(tables.values()):
            st.caption(f"**Protocol.** {protocol()['protocol']}. Authors' code: {protocol()['code']}. {RISE}")
        st.caption(GAP if any(one.reference for one in found.runs) else
                   "No reference run: its tests against the definition stand for it.")  # fmt: skip


def rows_of(found: Card, text: str) -> list[dict[str, str]]:
    """A row a recipe."""
    return [_row(run, text) for run in found.runs]


def table_of(rows: list[dict[str, str]]) -> str:
    """In Markdown: plain text, which no scrolling hides."""
    lines = [HEADINGS, dict.fromkeys(HEADINGS, "---"), *rows]
    return "\n".join(f"| {' | '.join(line.values())} |" for line in lines)


def _row(run: Run, text: str) -> dict[str, str]:
    gap, rise = run.gap(text), run.delta_nll.get(text)
    return {
        "recipe": f"`{run.recipe}`",
        "reference": f"{run.reference[text]:.4g}" if text in run.reference else "not run",
        "here": f"{run.perplexity[text]:.4g}" if text in run.perplexity else "not run",
        "rise": f"{rise[0]:+.3f} to {rise[1]:+.3f}" if rise else "–",
        "gap": f"{gap[0]:+.3f} ({gap[1]:+.3f} to {gap[2]:+.3f})" if gap else "–",
    }
