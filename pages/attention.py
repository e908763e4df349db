"""Attention: what every head of every layer looks at, before and after."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.components.attention_grid import attention_grid
from pages.components.charts import chart, downloads
from pages.components.controls import pick_model, pick_recipe
from pages.components.history import KEPT, undo_and_redo
from pages.components.live import ask, live
from pages.components.words import recipe_words
from reparam_core import ReparamError
from reparam_core.figures.attention import grid_figure, grid_title, head_figure, most_moved, sprite, strip
from reparam_core.jobs import Attended, Explored, Ticket, attended
from reparam_core.measure.attention import HeadChange, View, heads_of, is_causal
from reparam_core.models import Model

PROMPTS = {
    "causal": "The President sent a message to the Congress, and the Congress sent an answer to the President.",
    "seq2seq": "the fourth of March, 1861",
}
PROMPT = "A film of rare wit, which nobody should miss."
VIEWS: tuple[View, ...] = ("before", "after", "difference")
QUANTITIES = {"moved": "Moved", "before": "Entropy before", "after": "Entropy after", "change": "Change of entropy"}


def page() -> None:
    """Prompt and recipe → two readings → grid, one head large, numbers, formulas."""
    title, buttons = st.columns([3, 2], vertical_alignment="center")
    title.title("Attention")
    model = pick_model()
    recipe = pick_recipe(model)
    with buttons, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        undo_and_redo()
    prompt = pick_prompt(model)
    ticket = ask("attention", (model.name, recipe, prompt), lambda own: attended(model, recipe, prompt, own))
    live(lambda: progress(ticket), ticket)
    found = newest(ticket, model)
    if found is not None:
        st.fragment(pictures)(model, found, stale=found is not ticket.latest)


def pick_prompt(model: Model) -> str:
    """What the model reads."""
    return st.text_input("Prompt", PROMPTS.get(model.objective, PROMPT), key=f"prompt_{model.objective}", max_chars=4000,
                         icon=":material/edit_note:", label_visibility="collapsed",
                         placeholder="What the model reads: a sentence or a paragraph, up to 256 tokens", **KEPT)  # fmt: skip


def progress(ticket: Ticket) -> None:
    """What is being computed, or why it cannot be."""
    if ticket.error is not None:
        st.error(str(ticket.error))
    elif ticket.pending:
        so_far = ticket.latest if isinstance(ticket.latest, Explored) else Explored(doing="Waiting for the machine")
        st.progress(so_far.share or 0.0, f"{so_far.doing} …")


def newest(ticket: Ticket, model: Model) -> Attended | None:
    """What the ticket found, or while it looks what was found before for this model."""
    if isinstance(ticket.latest, Attended):
        st.session_state["attended"] = ticket.latest
    known: Attended | None = st.session_state.get("attended")
    return known if known and known.model == model.name and ticket.error is None else None


def pictures(model: Model, found: Attended, stale: bool) -> None:
    """Everything that one reading shows; in grey while a newer one comes."""
    with st.container(key="stale" if stale else "fresh"):
        above = st.container()
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            kind, view = pick_kind(found), pick_view()
            change = found.kinds[kind]
            layer, head = pick_head(change)
        above.markdown(f"#### {sentence(found, kind)}")
        source = provenance(found, kind)
        grid, large = st.columns(2)
        with grid:
            thumbnails(change, view, (layer, head), source)
        with large:
            chart(head_figure(change, view, (layer, head), source), "attention-head")
        st.caption(notes(model, found))
        strips, table = st.columns([11, 9])
        with strips:
            numbers(change, (layer, head), source)
        with table:
            most_moved_table(change)
        formulas(model, kind, change, layer, head)


def pick_kind(found: Attended) -> str:
    """Which of its attentions, where the model has several."""
    kinds = list(found.kinds)
    if len(kinds) == 1:
        return kinds[0]
    return st.segmented_control("Kind of attention", kinds, default=kinds[-1], required=True, key="kind",
                                label_visibility="collapsed", format_func=short_kind, **KEPT)  # fmt: skip


def short_kind(kind: str) -> str:
    """`encoder`, `decoder`, `cross`."""
    return kind.removesuffix("self-attention").removesuffix("attention").strip(" -").capitalize()


def pick_view() -> View:
    """Before, after, or what changed: of the thumbnails and the large head alike."""
    return st.segmented_control("View", VIEWS, default="after", required=True, key="view", format_func=str.capitalize,
                                label_visibility="collapsed", **KEPT)  # fmt: skip


def pick_head(change: HeadChange) -> tuple[int, int]:
    """Which head is large: its numbers, also to be typed; another model may have fewer of them."""
    chosen = []
    for name, count in zip(("layer", "head"), change.divergence.shape, strict=True):
        if name in st.session_state:
            st.session_state[name] = min(int(st.session_state[name]), count - 1)
        st.markdown(name.capitalize(), width="content")
        chosen.append(int(st.number_input(name.capitalize(), 0, count - 1, 0, key=name, width=104,
                                          label_visibility="collapsed", **KEPT)))  # fmt: skip
    layer, head = most_moved(change)
    if change.divergence.any():
        st.button(f"Most moved: layer {layer} head {head}", on_click=open_head, args=(layer, head), key="most-moved",
                  type="tertiary", icon=":material/move_down:")  # fmt: skip
    return chosen[0], chosen[1]


def open_head(layer: int, head: int) -> None:
    """Make this head the large one."""
    st.session_state.update(layer=layer, head=head)


def sentence(found: Attended, kind: str) -> str:
    """What the setting does to this prompt's attention, in one sentence."""
    change, name = found.kinds[kind], f"{found.model} {recipe_words(found.recipe)}"
    before, after = (float(change.entropy[side].mean()) for side in ("before", "after"))
    heads, (layer, head) = change.divergence.numel(), most_moved(change)
    if found.untouched:
        least, most = float(change.entropy["before"].min()), float(change.entropy["before"].max())
        return (f"{name}: its {heads} heads of {kind} look {2**before:.1f} keys wide on average "
                f"({before:.1f} bits), the narrowest {2**least:.1f} and the widest {2**most:.1f}.")  # fmt: skip
    return (f"{name}: its {heads} heads of {kind} move by {float(change.divergence.mean()):.2g} bits on average, layer {layer} "
            f"head {head} most ({float(change.divergence.max()):.2g} bits); entropy {before:.2f} → {after:.2f} bits.")  # fmt: skip


def provenance(found: Attended, kind: str) -> str:
    """Where the pictures' numbers come from."""
    prompt = found.prompt if len(found.prompt) <= 60 else f"{found.prompt[:57]}…"
    return f"{found.model} · {found.short} · {kind} · “{prompt}” · {found.dtype} · Reparam Explorer"


def thumbnails(change: HeadChange, view: View, selected: tuple[int, int], source: str) -> None:
    """All heads; a click or Enter opens one."""
    tiles = sprite(change.thumbnails[view].numpy(), view == "difference")
    attention_grid(grid_title(change, view), tiles, told(change), selected, open_head)
    downloads(lambda: grid_figure(change, view, source), "attention-grid")


def told(change: HeadChange) -> list[list[str]]:
    """Of each head its entropy, and how far it moved."""
    rows = zip(
        *(one.tolist() for one in (change.entropy["before"], change.entropy["after"], change.divergence)), strict=True
    )
    return [[f"entropy {before:.2f} → {after:.2f} bits, moved by {moved:.2f} bits" if moved else f"entropy {before:.2f} bits"
             for before, after, moved in zip(*row, strict=True)] for row in rows]  # fmt: skip


def notes(model: Model, found: Attended) -> str:
    """How to read the pictures, and what was done to the prompt."""
    said = ["Each row of a map is a query: its weights over the keys add up to 1. Colours follow the root of a weight, up to "
            "the head's largest before or after; in differences blue is less and orange more, up to the largest of all heads."]  # fmt: skip
    if found.answered:
        said.append("Base and setting both read the base's answer, so that their maps are of the same tokens; "
                    "the row of a token chooses what is written next.")  # fmt: skip
    if found.left_out:
        said.append(f"The prompt is longer than is read: its last {found.left_out} tokens were left out.")
    if getattr(model.tokenizer, "chat_template", None):
        said.append("The prompt is read as plain text, without the chat template.")
    return " ".join(said)


def numbers(change: HeadChange, selected: tuple[int, int], source: str) -> None:
    """One number of every head, over layers and heads."""
    with st.container(horizontal=True, vertical_alignment="center"):
        quantity = st.segmented_control("Number", list(QUANTITIES), default="moved", required=True, key="quantity",
                                        format_func=QUANTITIES.__getitem__, label_visibility="collapsed", **KEPT)  # fmt: skip
        share = st.toggle("of the widest", key="share", disabled=quantity == "moved", help="Entropy as a share of the widest "
                          "possible, log₂ of the keys that a query sees: in a causal model the first query sees only itself.",
                          **KEPT)  # fmt: skip
    side, unit = (change.spread, "of the widest") if share and quantity != "moved" else (change.entropy, "bits")
    values = {"moved": change.divergence, "change": side["after"] - side["before"], **side}[quantity]
    chart(strip(values, QUANTITIES[quantity], unit, selected, source, quantity == "change"), "attention-heads")


def most_moved_table(change: HeadChange) -> None:
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
            open_head(int(table["layer"][rows[0]]), int(table["head"][rows[0]]))

    st.caption("The heads that moved most come first. Choosing a row shows that head large.")
    st.dataframe(table, hide_index=True, height=370, key="heads-table", on_select=choose, selection_mode="single-row",
                 column_config=COLUMNS)  # fmt: skip


COLUMNS = {
    "layer": st.column_config.NumberColumn("Layer", width=50),
    "head": st.column_config.NumberColumn("Head", width=50),
    "moved": st.column_config.ProgressColumn("Moved, bits", width=120, min_value=0, max_value=1, format="%.3f"),
    "before": st.column_config.NumberColumn("Entropy before", width=90, format="%.2f"),
    "after": st.column_config.NumberColumn("after", width=60, format="%.2f"),
}


def formulas(model: Model, kind: str, change: HeadChange, layer: int, head: int) -> None:
    """What is drawn, as formulas with the numbers on screen."""
    weights, width, distance = st.columns(3)
    before, after = (float(change.entropy[side][layer, head]) for side in ("before", "after"))
    with weights, st.container(border=True):
        attention_formula(model, kind, is_causal(change.visible))
    with width, st.container(border=True):
        st.latex(r"H = -\textstyle\sum_j p_j \log_2 p_j")
        st.caption(f"Entropy of a row, mean over the queries: how widely a head looks. 0 bits is one key, log₂ n is all n alike. "
                   f"Layer {layer} head {head}: {before:.2f} → {after:.2f} bits.")  # fmt: skip
    with distance, st.container(border=True):
        st.latex(r"\mathrm{JS} = H\!\left(\tfrac{p+q}{2}\right) - \tfrac{H(p)+H(q)}{2}")
        st.caption(f"Jensen–Shannon divergence of a row before (p) and after (q), mean over the queries: how far a head moved. "
                   f"0 bits is the same, 1 bit has no key in common. Layer {layer} head {head}: {float(change.divergence[layer, head]):.3f} bits.")  # fmt: skip


def attention_formula(model: Model, kind: str, causal: bool) -> None:
    """softmax(QKᵀ/√d_k)V with what this model adds to it or leaves out."""
    heads = heads_of(model, kind)
    scaled = r"\frac{Q K^\top}{\sqrt{d_k}}" if heads.scaled else r"Q K^\top"
    bias, mask = (" + B" if heads.position_bias else ""), (" + M" if causal else "")
    st.latex(rf"\mathrm{{softmax}}\!\left({scaled}{bias}{mask}\right) V")
    said = [
        f"{heads.count} heads of d_k = {heads.width}"
        + (f", 1/√d_k = {heads.scaling:.3g}" if heads.scaled else "; T5 leaves √d_k out")
    ]
    if heads.key_value_count < heads.count:
        said.append(
            f"{heads.count // heads.key_value_count} of them share each of {heads.key_value_count} keys and values (grouped queries)"
        )
    said += ["Q and K are first turned by their positions"] if heads.rotary else []
    said += ["B is a learned bias of the distance"] if heads.position_bias else []
    said.append("M hides what comes later" if causal else "every key is seen")
    st.caption("; ".join(said) + ". Drawn is the softmax.")


try:
    page()
except ReparamError as error:
    st.error(str(error))
