"""The panels below the charts: text, layers, claims, tasks, and the setting as code."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.components.calibration import calibration_note
from pages.components.charts import live_chart
from pages.components.errors import show_error
from pages.components.history import KEPT
from pages.components.live import ask, live
from pages.components.rows import axis_of, provenance_of
from pages.components.words import count, recipe_words, source_words
from reparam_core import ReparamError
from reparam_core.data import ENTRIES as TEXTS
from reparam_core.data import is_labelled
from reparam_core.figures.claims import bar_of, bytes_by_kind, claimed_against_measured, confusion_matrix, task_bars
from reparam_core.jobs import Details, Explored, Ticket, conversed, exploring
from reparam_core.models import Model
from reparam_core.parametrizations.base import dtype_name
from reparam_core.recipes import Recipe

PROMPTS = {
    "causal": "What is the capital of France, and what is it known for?",
    "seq2seq": "the fourth of March, 1861",
    "classification": "A film of rare wit, which nobody should miss.",
    "masked": "The film was surprisingly [MASK].",
}
LETTER, PADDING = 6, 18  # pixels that a table takes for a letter, and around its words
OUTLIERS = {"weights_before": "Weights before", "weights_after": "after", "inputs_before": "Inputs before",
            "inputs_after": "after "}  # fmt: skip
EVERY = 1.5  # seconds from one drawing of a panel to the next
COME = "Computed as soon as the figures above are there …"
CONTINUED = "The Congress of the United States shall"


def text_panel(model: Model, recipe: str, quality: Ticket) -> None:
    """What base and setting say to the same prompt, side by side.

    Asked for once the figures are there: two that wait for one setting would each make it.
    """
    if model.objective not in PROMPTS:
        st.caption("This model has no head to say anything with.")
        return
    chat = bool(getattr(model.tokenizer, "chat_template", None))
    prompt = PROMPTS[model.objective] if model.objective != "causal" or chat else CONTINUED
    asked, most, warmth, seed = st.columns([6, 2, 2, 1.5])
    text = asked.text_input("Prompt", prompt, key=f"say_{model.name}", max_chars=2000, **KEPT)
    tokens = most.number_input("Tokens at most", 8, 256, 48, 8, key="say_tokens", **KEPT)
    temperature = warmth.number_input("Temperature", 0.0, 2.0, 0.0, 0.1, key="say_temperature",
                                      help="0 takes the likeliest token each time.", **KEPT)  # fmt: skip
    drawn = seed.number_input("Seed", 0, 10**6, 0, key="say_seed", **KEPT)
    wanted = (model.name, recipe, text, tokens, temperature, drawn)

    def known() -> Ticket | None:
        if not (quality.latest or Explored()).points and (quality.pending or quality.error is not None):
            return None
        return ask("text", wanted, lambda: conversed(model, recipe, text, tokens, temperature, drawn), "panel")

    live(lambda: _two_texts(known(), chat), known(), quality)


def _two_texts(ticket: Ticket | None, chat: bool) -> None:
    if ticket is None:
        st.caption(COME)
        return
    if ticket.error is not None:
        show_error(ticket.error)
        return
    before, after = ticket.latest or ("", "")
    for column, name, said in zip(
        st.columns(2), ("Before: the untouched model (the base)", "After: this setting"), (before, after), strict=True
    ):
        with column, st.container(border=True):
            st.caption(name)
            st.text(said or ("…" if ticket.pending else "(nothing)"))
    st.caption("Same prompt and seed" + (", through the model's chat template." if chat else "."))


def _details(ticket: Ticket) -> Details | None:
    """What is known so far; says so where there is nothing yet."""
    if ticket.error is not None:
        show_error(ticket.error)
        return None
    if ticket.pending and ticket.latest in (None, Details()):
        st.caption(COME)
    found: Details | None = ticket.latest
    return found


def by_layer(model: Model, recipe: str, ticket: Ticket) -> None:
    """What changed, matrix by matrix, and where the bytes lie."""
    left, right = st.columns([5, 3])
    with left:
        live(lambda: _changes(ticket), ticket, every=EVERY)
        live(lambda: _outliers(ticket), ticket, every=EVERY)
    with right:
        live_chart(
            lambda: _bytes(model, recipe, ticket), "bytes-by-kind", ticket, every=EVERY, heading=_heading(model, recipe)
        )


def _changes(ticket: Ticket) -> None:
    found = _details(ticket)
    if found is None or found.changes is None:
        return
    if not found.changes:
        st.caption("Nothing is changed: this is the base. Move a slider.")
        return
    table = pd.DataFrame(found.changes)
    table["shape"] = [f"{rows} × {columns}" for rows, columns in table["shape"]]
    table["size"] = table["bytes"] / table["bytes_base"]
    st.dataframe(table[["role", "form", "shape", "size", "relative_error"]], hide_index=True, height=380,
                 column_config=layer_columns(table))  # fmt: skip


def _outliers(ticket: Ticket) -> None:
    """What rewriting first did to the numbers that stand out, by kind of matrix."""
    found: Details | None = ticket.latest
    if found is None or not found.outliers:
        return
    st.caption("**What stands out, before and after rewriting**: max / rms, the median over layers. A grid of few bits "
               "has to reach the largest number, so that all others are coarser.")  # fmt: skip
    st.dataframe(pd.DataFrame(found.outliers), hide_index=True, column_config={
        "kind": st.column_config.TextColumn("Matrix"), **{
            name: st.column_config.NumberColumn(label, format="%.1f") for name, label in OUTLIERS.items()}})  # fmt: skip


def _bytes(model: Model, recipe: str, ticket: Ticket) -> go.Figure | None:
    found: Details | None = ticket.latest
    if found is None or found.sizes is None:
        return None
    told = _told(model.name, Recipe.parse(recipe).short(), "packed file, to the byte", calibration_note(model, recipe))
    return bytes_by_kind(found.sizes, axis_of(recipe), told)


def _heading(model: Model, recipe: str) -> str:
    """What stands over a slide."""
    return f"{model.name} {recipe_words(recipe)}:"


def _told(*parts: str) -> str:
    """A provenance of what there is to say."""
    return " · ".join(one for one in parts if one)


def layer_columns(table: pd.DataFrame) -> dict[str, Any]:
    """Names and forms as wide as the longest of them: a cut one tells nothing."""
    role, form, shape = (LETTER * int(table[name].str.len().max()) + PADDING for name in ("role", "form", "shape"))
    return {
        "role": st.column_config.TextColumn("Matrix", width=role),
        "form": st.column_config.TextColumn("Form", width=form),
        "shape": st.column_config.TextColumn("out × in", width=shape),
        "size": st.column_config.NumberColumn("Bytes, ×", width=64, format="%.2f"),
        "relative_error": st.column_config.ProgressColumn(
            "‖W − W′‖ / ‖W‖", width=116, min_value=0, max_value=1, format="%.3f",
            help="The distance to the matrix before, as a share of its norm."),
    }  # fmt: skip


def claims_panel(model: Model, recipe: str, ticket: Ticket) -> None:
    """What theory claims, beside file, memory and clock."""
    live_chart(lambda: _claims(model, recipe, ticket), "claims", ticket, every=EVERY, heading=_heading(model, recipe))
    st.caption(
        "The forms run with plain torch kernels for now: the clock shows what runs here, not what a special kernel could do."
    )


def _claims(model: Model, recipe: str, ticket: Ticket) -> go.Figure | None:
    found = _details(ticket)
    if found is None or not found.claims:
        return None
    speed = found.latency["speed"] if found.latency else None
    bars = [bar_of(one.what, one.ratio, one.kind, one.reason, speed) for one in found.claims]
    clock = (
        ""
        if found.timed or found.latency is None
        else f"times are estimates from {count(found.latency['runs'], 'run')}"
    )
    told = (model.name, Recipe.parse(recipe).short(), found.dtype, "plain torch kernels for now", clock)
    return claimed_against_measured(bars, axis_of(recipe), _told(*told, calibration_note(model, recipe)))


def tasks_panel(model: Model, recipe: str, ticket: Ticket, quality: Ticket) -> None:
    """Task accuracies, and the confusion matrix of a classifier."""
    left, right = st.columns([3, 2])
    with left:
        live_chart(lambda: _tasks(model, recipe, ticket), "tasks", ticket, every=EVERY, heading=_heading(model, recipe))
    with right:
        live_chart(lambda: _confusion(model, recipe, ticket.latest, quality.latest), "confusion", ticket, quality,
                   every=EVERY, heading=_heading(model, recipe))  # fmt: skip


def _tasks(model: Model, recipe: str, ticket: Ticket) -> go.Figure | None:
    found = _details(ticket)
    if found is None:
        return None
    if not found.tasks:
        st.caption(
            "Questions are asked once the times are measured …" if ticket.pending else "No task suits this model."
        )
        return None
    counts = "; ".join(f"{name}: {one['n']:,} questions" for name, one in found.tasks.items())
    read = calibration_note(model, recipe, list(found.tasks))
    told = _told(model.name, Recipe.parse(recipe).short(), counts, read, found.dtype)
    return task_bars(list(found.tasks.values()), axis_of(recipe), told)


def _confusion(model: Model, recipe: str, details: Details | None, explored: Explored | None) -> go.Figure | None:
    """Of what the figures above are about, else of the first task whose answers are labels."""
    points = explored.points.values() if explored else ()
    point = next((one for one in points if one.confusion), None)
    tasks = (details.tasks or {}).values() if details else ()
    task = next((one for one in tasks if one["confusion"]), None)
    if point is not None:
        name, provenance = source_words(point.source), provenance_of(model, [point])
        return _matrix(name, point.confusion or [], point.labels, point.final, provenance)
    if task is None or details is None:
        return None
    counts = f"{task['title']}: {task['n']:,} questions"
    provenance = _told(model.name, Recipe.parse(recipe).short(), counts, calibration_note(model, recipe), details.dtype)
    return _matrix(task["title"], task["confusion"], task["labels"], task["final"], provenance)


def _matrix(name: str, counts: list[list[int]], labels: Sequence[str], final: bool, provenance: str) -> go.Figure:
    right, asked = sum(row[index] for index, row in enumerate(counts)), sum(map(sum, counts))
    title = f"{name[:1].upper()}{name[1:].rstrip('?')}: {right / asked:.1%} right of {asked:,}{'' if final else ' (estimate)'}"
    return confusion_matrix(counts, labels, title, provenance)


def recipe_panel(model: Model, recipe: str, sources: list[str]) -> None:
    """The setting as recipe, Python and command line, asked as this page asks."""
    canonical, source = Recipe.parse(recipe).canonical, sources[0] if sources else None
    asked = as_typed(canonical)
    st.code(json.dumps(json.loads(canonical), indent=2), language="json", wrap_lines=True)
    st.code(python_lines(model, asked, source), language="python", wrap_lines=True)
    st.code(command_lines(model, asked, source), language="bash", wrap_lines=True)


def as_typed(canonical: str) -> str:
    """The short form where it says the very same recipe, else the JSON."""
    short = Recipe.parse(canonical).short()
    try:
        return short if Recipe.parse(short).canonical == canonical else canonical
    except ReparamError:
        return canonical


def _asked(model: Model, source: str | None) -> dict[str, int]:
    """How much of a running text the page scores; a table's rows are counted by itself."""
    if source is None or is_labelled(source):
        return {}
    return {"sequences": exploring.SEQUENCES[model.parameters > exploring.LARGE], "length": exploring.LENGTH}


def python_lines(model: Model, recipe: str, source: str | None) -> str:
    """A script that measures what this page shows."""
    text = {} if source is None else {"text": source}
    asked = "".join(f", {name}={value!r}" for name, value in (text | _asked(model, source)).items())
    return (f"import torch\n\nfrom reparam_core import apply, load, measure\n\nmodel = load({model.name!r})\n"
            f"setting = apply(model, {recipe!r}, dtype={exploring.exploring_dtype(model)})\n"
            f"print(measure(setting{asked}))")  # fmt: skip


def command_lines(model: Model, recipe: str, source: str | None) -> str:
    """The same on the command line, and the file that it speaks of."""
    option = "--text" if source is not None and not is_labelled(source) and source not in TEXTS else "--data"
    data = [] if source is None else [option, source]
    asked = [word for name, value in _asked(model, source).items() for word in (f"--{name}", str(value))]
    dtype = ["--dtype", dtype_name(exploring.exploring_dtype(model))]
    given, start = ["--model", model.name, "--recipe", recipe], ["python", "-m", "reparam_core"]
    measured = shlex.join([*start, "measure", *given, *data, *asked, *dtype])
    return f"{measured}\n{shlex.join([*start, 'compress', *given, '--out', 'smaller', '--format', 'packed'])}"
