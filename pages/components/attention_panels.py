"""Below the attention maps: one number of every head, the heads that moved most, and the formulas."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from pages.components.charts import chart
from pages.components.history import KEPT
from pages.components.words import apart
from reparam_core.figures.attention import bits, strip
from reparam_core.measure.attention import HeadChange, Heads, heads_of, is_causal
from reparam_core.models import Model

QUANTITIES = {"moved": "Moved", "before": "Entropy before", "after": "Entropy after", "change": "Change of entropy"}


def numbers(change: HeadChange, selected: tuple[int, int], source: str) -> None:
    """One number of every head, over layers and heads."""
    quantity = st.segmented_control("Number", list(QUANTITIES), default="moved", required=True, key="quantity",
                                    format_func=QUANTITIES.__getitem__, label_visibility="collapsed", **KEPT)  # fmt: skip
    share = st.toggle("as a share of the widest possible", key="share", disabled=quantity == "moved", **KEPT,
                      help="Of log₂ of the keys that a query sees. In a causal model the first query sees only itself, so that "
                      "its entropy is 0 by definition; here it is left out.")  # fmt: skip
    side, unit = (change.spread, "of the widest") if share and quantity != "moved" else (change.entropy, "bits")
    values = {"moved": change.divergence, "change": side["after"] - side["before"], **side}[quantity]
    chart(strip(values, QUANTITIES[quantity], unit, selected, source, quantity == "change"), "attention-heads")


def heads_table(change: HeadChange, opened: Callable[[int, int], None]) -> None:
    """Every head in numbers, the most moved first; choosing a row opens it."""
    layers, heads = change.divergence.shape
    table = pd.DataFrame({
        "layer": [layer for layer in range(layers) for _ in range(heads)], "head": list(range(heads)) * layers,
        "moved": change.divergence.flatten(), "before": change.entropy["before"].flatten(),
        "after": change.entropy["after"].flatten(),
    }).sort_values("moved", ascending=False, kind="stable", ignore_index=True)  # fmt: skip

    def choose() -> None:
        rows = st.session_state["heads-table"]["selection"]["rows"]
        if rows:
            opened(int(table["layer"][rows[0]]), int(table["head"][rows[0]]))

    st.caption("The heads that moved most come first. Choosing a row shows that head large.")
    st.dataframe(table, hide_index=True, height=370, key="heads-table", on_select=choose, selection_mode="single-row",
                 column_config=COLUMNS | {"moved": st.column_config.ProgressColumn(
                     "Moved, bits", width=120, min_value=0, max_value=float(table["moved"].max()) or 1.0, format="%.2g",
                     help="Jensen–Shannon divergence of before and after, mean over the queries: H((p+q)/2) − (H(p)+H(q))/2.")})  # fmt: skip


ENTROPY = "H = −Σ pⱼ log₂ pⱼ of a query's weights, mean over the queries: how widely the head looks."
COLUMNS = {
    "layer": st.column_config.NumberColumn("Layer", width=50),
    "head": st.column_config.NumberColumn("Head", width=50),
    "before": st.column_config.NumberColumn(
        "Entropy before", width=105, format="%.2f", help=f"{ENTROPY} Before, in bits."
    ),
    "after": st.column_config.NumberColumn("after", width=60, format="%.2f", help=f"{ENTROPY} After, in bits."),
}


def formulas(model: Model, kind: str, change: HeadChange, selected: tuple[int, int]) -> None:
    """What is drawn, as formulas with the numbers on screen."""
    before, after = (float(change.entropy[side][selected]) for side in ("before", "after"))
    name, moved = f"Layer {selected[0]} head {selected[1]}", bits(float(change.divergence[selected]))
    heads, causal = heads_of(model, kind), is_causal(change.visible)
    told = (
        (_softmax(heads, causal), _softmax_words(heads, causal, any(change.windows))),
        (r"H = -\textstyle\sum_j p_j \log_2 p_j",
         "**Entropy** of a row p, mean over the queries: how widely a head looks. 0 bits is one key, log₂ n bits are n keys "
         f"alike. {name}: {from_to(before, after)} bits."),
        (r"\mathrm{JS} = H\!\left(\tfrac{p+q}{2}\right) - \tfrac{H(p)+H(q)}{2}",
         "**Jensen–Shannon divergence** of a row before, p, and after, q, mean over the queries: how far a head moved. "
         f"0 bits is the same, 1 bit shares no key. {name}: {moved} bits."),
    )  # fmt: skip
    for column, (formula, words) in zip(st.columns(3), told, strict=True):
        with column, st.container(border=True, height="stretch"):
            st.latex(formula)
            st.caption(words)


def from_to(before: float, after: float) -> str:
    """`2.07 → 2.43`; one number where three decimals do not tell them apart."""
    return apart(before, after) or f"{before:.2f}"


def _softmax(heads: Heads, causal: bool) -> str:
    """softmax(QKᵀ/√d_k)V with what this model adds to it or leaves out."""
    product = r"Q K^\top"
    if heads.scaled:
        product = rf"\frac{{{product}}}{{\sqrt{{d_k}}}}"
    elif heads.scaling != 1:
        product = rf"{heads.scaling:.3g}\,{product}"
    added = (" + B" if heads.position_bias else "") + (" + M" if causal else "")
    body = rf"\mathrm{{softmax}}\!\left({product}{added}\right) V"
    return rf"\begin{{aligned}} &\mathrm{{Attention}}(Q, K, V) \\ &\quad = {body} \end{{aligned}}"


def _softmax_words(heads: Heads, causal: bool, windowed: bool) -> str:
    """The letters of the formula in this model."""
    scale = f"√d_k = {heads.width**0.5:.3g}" if heads.scaled else "no division by √d_k in this model"
    said = [f"**Drawn is the softmax.** {heads.count} heads, d_k = {heads.width}, {scale}"]
    if heads.key_value_count < heads.count:
        said.append(f"each of {heads.key_value_count} keys and values serves {heads.count // heads.key_value_count} heads "
                    "(grouped queries)")  # fmt: skip
    said += ["Q and K are turned by their positions first (RoPE)"] if heads.rotary else []
    said += ["B is a learned bias of the distance"] if heads.position_bias else []
    said += ["M hides what comes later: a causal mask"] if causal else ["no mask: every key is seen"]
    said += ["in layers with a window M also hides what lies further back than that"] if windowed else []
    return "; ".join(said) + "."
