"""Attention: every head of every layer, before and after."""

import streamlit as st
import torch

from pages.components.charts import chart
from pages.components.controls import pick_model, pick_recipe
from reparam_core import ReparamError, apply, base
from reparam_core.figures.attention import attention_grid, attention_heatmap
from reparam_core.measure.attention import Maps, attention, divergence, entropy
from reparam_core.models import Model

PROMPTS = {"seq2seq": "the fourth of March, 1861"}
PROMPT = "The Congress shall have the power to declare war, and the President shall report to it."


@st.cache_data(max_entries=32, show_spinner="Reading the prompt …")
def maps_of(sha256: str, recipe: str, prompt: str, _model: Model) -> Maps:
    """The maps of a recipe: small, and the same for every session."""
    setting = base(_model) if recipe == '{"rules": []}' else apply(_model, recipe)
    return attention(setting, prompt)


def show_head(before: torch.Tensor, after: torch.Tensor, queries: list[str], keys: list[str], provenance: str) -> None:
    """One head large: before, after, difference."""
    layers, heads = before.shape[:2]
    left, right = st.columns(2)
    layer = left.number_input("Layer", 0, layers - 1, 0, key="layer", bind="query-params")
    head = right.number_input("Head", 0, heads - 1, 0, key="head", bind="query-params")
    pair = before[layer, head], after[layer, head]
    moved, wide = divergence(before, after)[layer, head], entropy(after)[layer, head]
    st.caption(f"Entropy {wide:.2f} bits; moved by {moved:.3f} bits (Jensen–Shannon, 0 the same, 1 disjoint).")
    drawn = {"Before": (pair[0], False), "After": (pair[1], False), "Difference": (pair[1] - pair[0], True)}
    for tab, (title, (values, signed)) in zip(st.tabs(list(drawn)), drawn.items(), strict=True):
        with tab:
            name = f"{title}: layer {layer}, head {head}"
            chart(attention_heatmap(values.numpy(), queries, keys, name, provenance, signed), f"head-{title}")


def page() -> None:
    """Prompt → maps of base and setting → grid and one head."""
    st.title("Attention")
    model = pick_model()
    recipe = pick_recipe()
    prompt = st.text_input(
        "Prompt", PROMPTS.get(model.objective, PROMPT), key=f"prompt-{model.objective}", max_chars=600
    )
    try:
        before, after = (maps_of(model.sha256, one, prompt, model) for one in ('{"rules": []}', recipe))
    except ReparamError as error:
        st.error(str(error))
        st.stop()
    kinds = list(after.maps)
    kind = st.segmented_control("Attention", kinds, default=kinds[0], key="kind") or kinds[0]
    first, second = before.maps[kind], after.maps[kind]
    provenance = f"{model.name} · {kind} · “{prompt[:60]}”"
    if first.shape != second.shape:
        st.info("The setting writes another answer, so its cross-attention has other tokens: shown alone.")
        first = second
    grid, large = st.columns(2)
    with grid:
        chart(attention_grid(second.numpy(), provenance), "grid")
    with large:
        show_head(first, second, after.queries[kind], after.keys[kind], provenance)


page()
