"""Attention: what every head of every layer looks at, before and after."""

from __future__ import annotations

import html

import streamlit as st

from pages.components.address import read_address, say_misread
from pages.components.attention_grid import attention_grid
from pages.components.attention_panels import formulas, from_to, heads_table, numbers
from pages.components.charts import chart, downloads
from pages.components.controls import pick_model, pick_recipe, take_own_source
from pages.components.errors import literal, show_error
from pages.components.history import KEPT, undo_and_redo
from pages.components.live import ask, failed, live
from pages.components.words import recipe_words
from reparam_core import ReparamError
from reparam_core.figures.attention import bits, grid_figure, grid_title, head_figure, most_moved, sprite
from reparam_core.jobs import Attended, Explored, Reading, Ticket, attended
from reparam_core.measure.attention import HeadChange, View
from reparam_core.models import Model

PROMPTS = {
    "causal": "The President sent a message to the Congress, and the Congress sent an answer to the President.",
    "seq2seq": "the fourth of March, 1861",
}
PROMPT = "A film of rare wit, which nobody should miss."
MEANING = (
    r"**Entropy** $H=-\sum_j p_j\log_2 p_j$ of a query's weights $p$, mean over queries: how widely a head looks, $2^H$ keys "
    r"alike. **Moved by** the Jensen–Shannon divergence $H(\frac{p+q}{2})-\frac{H(p)+H(q)}{2}$ of the weights before, $p$, and "
    r"after, $q$: 0 bits is the same, 1 bit shares no key."
)
VIEWS: tuple[View, ...] = ("before", "after", "difference")


def page() -> None:
    """Prompt and recipe → two readings → grid, one head large, numbers, formulas."""
    read_address()
    title, doing, buttons = st.columns([3, 5, 4], vertical_alignment="center")
    title.title("Attention")
    told = st.container()
    take_own_source()
    model = pick_model()
    recipe = pick_recipe(model)
    with buttons, st.container(horizontal=True, horizontal_alignment="right", gap="small"):
        undo_and_redo()
    prompt = pick_prompt(model)
    ticket = asked(model, recipe, prompt)
    with doing:
        live(lambda: progress(ticket), ticket)
    failed("attention", ticket)
    reading = newest(ticket, model)
    if reading is not None and reading.found is not None:
        say_what_was_cut(reading.found)
        st.fragment(pictures)(model, reading, stale=reading is not ticket.latest)
    with told:
        say_misread(drawn=reading is not None and reading is ticket.latest)


def asked(model: Model, recipe: str, prompt: str) -> Ticket:
    """The reading; once more where others' maps took its room in the meantime."""
    wanted = (model.name, recipe, prompt)
    ticket = ask("attention", wanted, lambda: attended(model, recipe, prompt))
    if isinstance(ticket.latest, Reading) and ticket.latest.found is None:
        st.session_state["asked"].pop("attention")
        ticket = ask("attention", wanted, lambda: attended(model, recipe, prompt))
    return ticket


def pick_prompt(model: Model) -> str:
    """What the model reads; where nothing is written, what it read last."""
    default, last = PROMPTS.get(model.objective, PROMPT), f"prompt_last_{model.objective}"
    written = st.text_input("Prompt", default, key=f"prompt_{model.objective}", max_chars=4000, icon=":material/edit_note:",
                            label_visibility="collapsed", **KEPT,
                            placeholder="What the model reads: a sentence or a paragraph, up to 256 tokens")  # fmt: skip
    if written.strip():
        st.session_state[last] = written
    else:
        before = literal(quoted(st.session_state.get(last, default)))
        st.caption(
            f":material/edit: **Nothing is written.** Write what the model shall read; until then it is {before}."
        )
    return str(st.session_state.get(last, default))


def say_what_was_cut(found: Attended) -> None:
    """At the prompt itself, where it is longer than is read."""
    if found.left_out:
        st.caption(f":material/content_cut: **The prompt is cut:** its first {found.read} tokens are read, the last "
                   f"{found.left_out} were left out.")  # fmt: skip


def quoted(prompt: str) -> str:
    """“The President …”"""
    return f"“{prompt if len(prompt) <= 60 else f'{prompt[:57]}…'}”"


def progress(ticket: Ticket) -> None:
    """What is being computed, in the title's row, where nothing has to give way for it."""
    if ticket.pending:
        so_far = ticket.latest if isinstance(ticket.latest, Explored) else Explored(doing="Waiting for the machine")
        st.progress(so_far.share or 0.0, f"{so_far.doing} …")


def newest(ticket: Ticket, model: Model) -> Reading | None:
    """What the ticket found, or while it looks what was found before for this model."""
    if isinstance(ticket.latest, Reading):
        st.session_state["attended"] = ticket.latest
    known: Reading | None = st.session_state.get("attended")
    return known if known and known.model == model.name and ticket.error is None else None


def pictures(model: Model, reading: Reading, stale: bool) -> None:
    """Everything that one reading shows; in grey while a newer one comes."""
    found = reading.found
    if found is None:
        st.rerun()  # others' maps took its room: the page asks once more
    with st.container(key="stale" if stale else "fresh"):
        above = st.container()
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            kind, view = pick_kind(found), pick_view()
            change = found.kinds[kind]
            layer, head = pick_head(change)
        above.markdown(f"#### {sentence(found, kind)}", help=MEANING)
        source = provenance(found, kind)
        grid, large = st.columns(2)
        with grid:
            thumbnails(change, view, (layer, head), source)
        with large:
            chart(head_figure(change, view, (layer, head), source), "attention-head")
        st.caption(notes(model, found, change, layer))
        strips, table = st.columns([11, 9])
        with strips:
            numbers(change, (layer, head), source)
        with table:
            heads_table(change, open_head)
        formulas(model, kind, change, (layer, head))


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
        if int(st.session_state.get(name, 0)) >= count:
            st.session_state[name] = count - 1
        st.markdown(name.capitalize(), width="content")
        chosen.append(int(st.number_input(name.capitalize(), 0, count - 1, 0, key=name, width=104,
                                          label_visibility="collapsed", **KEPT)))  # fmt: skip
    layer, head = most_moved(change)
    st.button("Most moved", on_click=open_head, args=(layer, head), key="most-moved", type="tertiary",
              disabled=not change.divergence.any(), icon=":material/move_down:", help=f"Layer {layer}, head {head}.")  # fmt: skip
    return chosen[0], chosen[1]


def open_head(layer: int, head: int) -> None:
    """Make this head the large one."""
    st.session_state.update(layer=layer, head=head)


def sentence(found: Attended, kind: str) -> str:
    """What the setting does to this prompt's attention, in one sentence."""
    change, name = found.kinds[kind], f"{found.model} {recipe_words(found.recipe)}"
    before, after = (float(change.entropy[side].mean()) for side in ("before", "after"))
    heads, (layer, head) = change.divergence.numel(), most_moved(change)
    most, widths = float(change.divergence.max()), f"entropy {from_to(before, after)} bits."
    if found.untouched:
        least, most = float(change.entropy["before"].min()), float(change.entropy["before"].max())
        return (f"{name}: its {heads} heads of {kind} look {2**before:.1f} keys wide on average "
                f"({before:.1f} bits), the narrowest {2**least:.1f} and the widest {2**most:.1f}.")  # fmt: skip
    if most == 0:
        return f"{name}: none of its {heads} heads of {kind} moves on this prompt; {widths}"
    return (f"{name}: its {heads} heads of {kind} move by {bits(float(change.divergence.mean()))} bits on average, layer {layer} "
            f"head {head} most ({bits(most)} bits); {widths}")  # fmt: skip


def provenance(found: Attended, kind: str) -> str:
    """Where the pictures' numbers come from."""
    prompt = html.escape(quoted(found.prompt), quote=False)  # a figure would take its tags for type
    return f"{found.model} · {found.short} · {kind} · {prompt} · {found.dtype} · Reparam Explorer"


def thumbnails(change: HeadChange, view: View, selected: tuple[int, int], source: str) -> None:
    """All heads; a click or Enter opens one."""
    tiles = sprite(change.thumbnails[view].numpy(), view == "difference")
    attention_grid(grid_title(change, view), tiles, told(change), selected, open_head)
    downloads(lambda: grid_figure(change, view, source), "attention-grid")


def told(change: HeadChange) -> list[list[str]]:
    """Of each head its entropy, how far it moved, and the window where its layer has one."""
    sides = (change.entropy["before"], change.entropy["after"], change.divergence)
    windows = [f", window of {one:,} keys" if one else "" for one in map(change.window, range(len(change.divergence)))]
    return [[f"entropy {from_to(before, after)} bits, moved by {bits(moved)} bits{window}" if moved
             else f"entropy {before:.2f} bits{window}" for before, after, moved in zip(*row, strict=True)]
            for *row, window in zip(*(one.tolist() for one in sides), windows, strict=True)]  # fmt: skip


def window_words(change: HeadChange, layer: int) -> str:
    """How far back the layer looks, where it does not see its whole past."""
    window, keys = change.window(layer), len(change.keys)
    if window is None:
        return f"Layer {layer} sees the whole past; other layers see a window." if any(change.windows) else ""
    if window >= keys:
        return f"Layer {layer} attends within a window of {window:,} keys, which is wider than this prompt."
    return (f"Layer {layer} attends within a window: each query sees itself and the {window - 1:,} keys before it; what lies "
            "further back is hidden and left blank.")  # fmt: skip


def notes(model: Model, found: Attended, change: HeadChange, layer: int) -> str:
    """How to read the pictures, and what was done to the prompt."""
    said = ["Each row of a map is a query; its weights over the keys add up to 1. Colours follow the root of a weight, up to what "
            "one in 200 of the head's weights exceeds, before and after alike; in a difference blue is less and orange more."]  # fmt: skip
    if found.answered:
        said.append("Base and setting both read the base's answer, so that their maps are of the same tokens; "
                    "the row of a token chooses what is written next.")  # fmt: skip
    said += [window_words(change, layer)] if change.windows else []
    if getattr(model.tokenizer, "chat_template", None):
        said.append("The prompt is read as plain text, without the chat template.")
    return " ".join(said)


try:
    page()
except ReparamError as error:
    show_error(error)
