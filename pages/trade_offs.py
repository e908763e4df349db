"""Trade-offs: what rank, sparsity and bit-width do to accuracy, size and latency."""

import json
import uuid
from typing import Any

import streamlit as st
import torch

from pages.components.charts import chart
from pages.components.controls import pick_model, pick_recipe, pick_text
from reparam_core import ReparamError
from reparam_core.figures.claims import claimed_against_measured
from reparam_core.figures.tradeoffs import axis_curve, tradeoff_scatter
from reparam_core.jobs import Point, evaluator, explored, measured_so_far, swept
from reparam_core.models import Model
from reparam_core.recipes import Recipe

SWEEPS: dict[str, list[dict[str, Any]]] = {
    "rank": [{"method": "svd", "keep": keep / 100} for keep in (100, 75, 50, 40, 30, 20, 10, 5)],
    "sparsity": [{"method": "magnitude", "fraction": share / 100} for share in (0, 20, 40, 50, 60, 70, 80, 90)],
    "bits": [{"method": "rtn", "bits": bits, "group": 64} for bits in (8, 6, 5, 4, 3, 2)],
}
POSITIONS = {"rank": "keep", "sparsity": "fraction", "bits": "bits"}


def ask(model: Model, recipe: str, text: str) -> None:
    """Submit what the controls say, unless it is already asked."""
    wanted = (model.name, recipe, text)
    if st.session_state.get("asked") != wanted:
        session = st.session_state.setdefault("session", uuid.uuid4().hex)
        st.session_state.asked = wanted
        st.session_state.ticket = evaluator().submit(session, "quality", lambda: explored(model, recipe, text))


def axis_of(recipe: str) -> str:
    """Which axes a recipe's JSON touches: one's name, combined, or base."""
    axes = {axis for rule in json.loads(recipe)["rules"] for axis in rule if axis != "where"}
    return "base" if not axes else axes.pop() if len(axes) == 1 else "combined"


def sentence(model: Model, point: Point) -> str:
    """What the settings do, in one sentence."""
    told = "untouched" if point.recipe == "base" else f"with {point.recipe}"
    size = point.bytes / point.bytes_base
    return (f"{model.name} {told} takes {size:.2f}× the bytes; perplexity on {point.text} "
            f"{point.base_perplexity:.3g} → {point.perplexity:.4g}{certainty(point)}.")  # fmt: skip


def certainty(point: Point) -> str:
    """In words: an estimate, no difference, or nothing to add."""
    if not point.final:
        return f" (estimate from {point.tokens} tokens)"
    if point.recipe != "base" and point.low is not None and point.high is not None and point.low <= 0 <= point.high:
        return " (no significant difference)"
    return ""


def show_figures(point: Point) -> None:
    """The big numbers; the base has no difference to itself."""
    changed = point.recipe != "base"
    accuracy, perplexity, size, numbers = st.columns(4)
    gain, loss = point.accuracy - point.base_accuracy, point.perplexity - point.base_perplexity
    accuracy.metric("Next-token accuracy", f"{point.accuracy:.1%}", f"{100 * gain:+.1f} points" if changed else None)
    perplexity.metric(f"Perplexity on {point.text}", f"{point.perplexity:.4g}", f"{loss:+.3g}" if changed else None,
                      delta_color="inverse")  # fmt: skip
    size.metric("File size", f"{point.bytes / 1e6:.1f} MB", ratio(point.bytes, point.bytes_base), delta_color="off")
    numbers.metric("Numbers kept", f"{point.parameters / 1e6:.2f} M", ratio(point.parameters, point.parameters_base),
                   delta_color="off")  # fmt: skip
    if point.low is not None and point.high is not None and changed:
        st.caption(f"ΔNLL {point.delta_nll:+.3f} nats a token, 95 % paired interval {point.low:+.3f} to "
                   f"{point.high:+.3f}, from {point.tokens:,} tokens of {point.text}.")  # fmt: skip


def ratio(value: int, base: int) -> str | None:
    """`0.41× the base`, nothing where it is the same."""
    return f"{value / base:.2f}× the base" if value != base else None


def show_charts(model: Model, text: str, current: str) -> None:
    """Everything measured so far, and one axis."""
    points = measured_so_far(model, text)
    rows = [{"recipe": one.recipe, "axis": kind(one.recipe), "ratio": one.bytes / one.bytes_base,
             "perplexity": one.perplexity} for one in points]  # fmt: skip
    provenance = f"{model.name} · {text}, sequences of 256 tokens · every position but the first scored"
    if not rows:
        st.caption("The charts appear with the first setting that is fully measured.")
        return
    left, right = st.columns(2)
    with left:
        chart(tradeoff_scatter(rows, current, text, provenance), "trade-offs")
    with right:
        axis = (
            st.segmented_control("Along", list(SWEEPS), default="rank", key="axis", label_visibility="collapsed")
            or "rank"
        )
        chart(axis_curve(axis, along(axis, rows), None, text, provenance), "axis")


def kind(short: str) -> str:
    """The axis of a recipe in short form."""
    heads = {"svd": "rank", "als": "rank", "randomized-svd": "rank", "magnitude": "sparsity", "rtn": "bits"}
    found = {axis for name, axis in heads.items() if f"{name}:" in f" {short}"}
    return "base" if not found else found.pop() if len(found) == 1 else "combined"


def along(axis: str, rows: list[dict]) -> list[dict]:
    """The rows that touch this axis alone, with their position."""
    found = []
    for row in rows:
        if row["axis"] == axis and ";" not in row["recipe"]:
            step = Recipe.parse(row["recipe"].split(" on ")[0]).rules[0].steps[axis]
            position = step.as_json().get(POSITIONS[axis]) if step else None
            if position is not None:
                found.append({**row, "position": position})
    return found


def sweep_controls(model: Model, text: str) -> None:
    """Fill the curves in the background."""
    ticket = st.session_state.get("sweep")
    if ticket is not None and ticket.pending:
        done, total = ticket.latest or (0, 1)
        st.progress(done / total, f"Sweeping: {done} of {total} settings")
        if st.button("Cancel the sweep"):
            ticket.cancel()
            st.rerun()
    elif st.button("Sweep all three axes", help="Measures 22 settings in the background; the slider goes first."):
        recipes = [json.dumps({"rules": [{axis: step}]}) for axis, steps in SWEEPS.items() for step in steps]
        session = st.session_state.setdefault("session", uuid.uuid4().hex)
        st.session_state.sweep = evaluator().submit(
            session, "sweep", lambda: swept(model, recipes, text, torch.float32), lane="background")  # fmt: skip
        st.rerun()


def show_claims(point: Point) -> None:
    """Theory beside the file."""
    parameters, size = point.parameters / point.parameters_base, point.bytes / point.bytes_base
    reason = "zeros need a bitmap, groups a scale" if size > parameters else ""
    rows = [("numbers kept (theory)", parameters, "rank above break-even" if parameters > 1 else ""),
            ("file", size, reason), ("kernel", 1.0, "plain torch products: no kernel for these forms here")]  # fmt: skip
    chart(claimed_against_measured(rows, f"{point.recipe} · file size counted to the byte"), "claims")


def results(model: Model, recipe: str, text: str) -> None:
    """What is known now; polls itself only while something is pending."""
    ticket = st.session_state.ticket
    if ticket.error is not None:
        st.error(str(ticket.error))
        return
    point = ticket.latest
    if point is None:
        st.info("Preparing: the first estimate appears in a moment. The first SVD of a model is dear, once.")
        return
    st.markdown(f"#### {sentence(model, point)}")
    show_figures(point)
    show_charts(model, text, point.recipe)
    sweep_controls(model, text)
    claims, written = st.tabs(["Claimed against measured", "Recipe · Python · command line"])
    with claims:
        show_claims(point)
    with written:
        st.code(recipe, language="json")
        st.code(f'from reparam_core import apply, load, measure\n\nmodel = load("{model.name}")\n'
                f"print(measure(apply(model, '{recipe}')))", language="python")  # fmt: skip
        st.code(
            f"python -m reparam_core measure --model {model.name} --recipe '{recipe}' --data {text}", language="bash"
        )


def page() -> None:
    """Controls → recipe → one engine call → figures."""
    st.title("Trade-offs")
    model = pick_model(causal_only=True)
    text, recipe = pick_text(), pick_recipe()
    try:
        ask(model, recipe, text)
    except ReparamError as error:
        st.error(str(error))
        st.stop()
    waiting = st.session_state.ticket.pending or getattr(st.session_state.get("sweep"), "pending", False)

    def poll() -> None:
        results(model, recipe, text)
        sweep = st.session_state.get("sweep")
        if waiting and not st.session_state.ticket.pending and not (sweep and sweep.pending):
            st.rerun()

    st.fragment(poll, run_every=0.3 if waiting else None)()


page()
