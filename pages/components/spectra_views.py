"""The three views of the spectra page: one matrix with its cut, all layers, alternating least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import partial

import streamlit as st
from plotly.graph_objects import Figure

from pages.components.charts import chart
from pages.components.history import KEPT
from pages.components.matrix import matrix_clicked
from pages.components.spectrum_cut import loss_of, score_of, spectrum_cut
from pages.components.units import unit_of
from pages.components.words import quality_words, recipe_words, source_words
from reparam_core.figures.spectra import (
    als_convergence,
    als_excess,
    rank_map,
    spectra_by_depth,
    spectrum,
)
from reparam_core.figures.theme import AXIS_COLOURS
from reparam_core.jobs import (
    Compared,
    CutQuality,
    Explored,
    Layers,
    Point,
    Side,
    Ticket,
    cut_quality,
    ladder,
    on_one_base,
    progress_of,
)
from reparam_core.measure.spectra import (
    QUANTITIES,
    by_kind,
    convergence_rate,
    kind_and_layer,
    layered,
    random_spectrum,
)
from reparam_core.methods.rank.als import ALS
from reparam_core.models import Model
from reparam_core.recipes import Recipe

RANKS = (
    r"**Stable rank** $\lVert W\rVert_F^2/\sigma_1^2$: how many directions are as strong as the first. **Entropy rank** "
    r"$\exp(-\sum_i p_i\ln p_i)$ with $p_i=\sigma_i/\sum_j\sigma_j$: how many directions share the matrix. **Energy** is "
    r"$\sum\sigma_i^2$."
)
PENDING = "\N{NO-BREAK SPACE}…"  # never alone on a line
LONG = 2.0  # seconds from which it is said how long something still takes
SIDES: tuple[Side, ...] = ("before", "after", "difference")


@dataclass(frozen=True)
class View:
    """What the page looks at: the controls' state, and the jobs that every view needs."""

    model: Model
    role: str
    recipe: str
    cut: int
    sources: list[str]
    spectrum: Ticket
    scores: list[Ticket]  # the model's with this cut, by source

    @property
    def found(self) -> Compared | None:
        """The spectrum, as soon as it is there."""
        found: Compared | None = self.spectrum.latest
        return found

    @property
    def provenance(self) -> str:
        """Where the numbers come from."""
        marked = f", a checkpoint of {self.model.source_bits} bits" if self.model.source_bits else ""
        rows, columns = self.model.matrices[self.role].shape
        return f"{self.model.name}{marked} · {self.role}, {rows} × {columns} (out × in) · Reparam Explorer"


# The sentence


def sentence(view: View) -> str:
    """What the settings do to this matrix, and to the model."""
    rows, columns = view.model.matrices[view.role].shape
    opening = f"{view.role} ({rows} × {columns})"
    if view.found is None:
        return f"{opening} cut at rank {view.cut}{PENDING}"
    found, cut = view.found.before, view.cut
    told = [
        f"{opening} cut at rank {cut} keeps {found.energy(cut):.1%} of the energy in {times(found.numbers(cut))} the numbers"
    ]
    told[0] += ", a loss above break-even" if found.numbers(cut) > 1 else ""
    told.append(f"relative error {found.error(cut):.1%}")
    for source, ticket in zip(view.sources, view.scores, strict=True):
        point = point_of(ticket)
        told.append(quality_words(point) if point else f"{score_of(source)} on {source_words(source)}{PENDING}")
    return ("; ".join(told) + ".").replace("….", "…")


def times(ratio: float) -> str:
    """`0.63×` for 0.625, as the picture rounds it, where Python rounds halves to even."""
    return f"{Decimal(ratio).quantize(Decimal('0.01'), ROUND_HALF_UP)}×"


def point_of(ticket: Ticket) -> Point | None:
    """What is known of the model with this cut on the ticket's source."""
    known: Explored = ticket.latest or Explored()
    return next(iter(known.points.values()), None)


def doing_of(view: View, tried: Ticket | None) -> str:
    """What is being scored and how far it is: this cut, then the cuts of the curve."""
    if view.scores and view.scores[0].pending:
        point = point_of(view.scores[0])
        units = f"{unit_of(view.model)}s"
        if point is None:
            return "waiting for the machine" if view.scores[0].state == "waiting" else f"scoring the first {units}"
        known = progress_of(view.model, point)
        return f"{known.done:,} of {known.total:,} {units} scored" + time_left(known.seconds_left)
    if tried and tried.pending:
        return (
            f"measuring rank {len(tried.latest or {}) + 1} of {len(ladder(min(view.model.matrices[view.role].shape)))}"
        )
    return ""


def time_left(seconds: float) -> str:
    """`, about 20 s left`, where it is worth saying."""
    return f", about {seconds:.0f} s left" if seconds >= LONG else ""


# One matrix


def known_cuts(view: View, tried: Ticket | None) -> list[CutQuality]:
    """Every cut of this matrix that was measured, those passed through as well, and what is known of the one in hand."""
    every = st.session_state.setdefault("cuts", {})
    kept: dict[int, CutQuality] = every.setdefault((view.model.name, view.role, *view.sources[:1]), {})
    known = dict((tried.latest if tried else None) or {})
    first = point_of(view.scores[0]) if view.scores else None
    if first is not None:
        known[view.cut] = cut_quality(first, view.cut)
    kept |= {rank: one for rank, one in known.items() if one.final}
    return on_one_base((known | kept).values())


def one_matrix(view: View, tried: Ticket | None) -> Callable[[], Figure] | None:
    """The spectrum under a cut that one drags, and the formula with its numbers; how its slide is made."""
    if view.found is None:
        st.progress(0.0, f"Singular values of {view.role} …")
        return None
    cuts = known_cuts(view, tried)
    reason = "" if view.sources else "this model has no head to score"
    loss = loss_of(cuts, view.sources[0] if view.sources else "any text", doing_of(view, tried), reason)
    dropped = spectrum_cut(view.role, view.found, view.cut, axis_of(view.recipe), loss)
    if dropped is not None:
        st.session_state.update({"cut-dropped": dropped, "picked": True})
    formula(view, view.found)
    return partial(picture, view, cuts)


def picture(view: View, cuts: list[CutQuality]) -> Figure:
    """The same picture as a slide."""
    assert view.found is not None
    before, after = view.found.before, view.found.after
    points = [(one.rank, one.value, one.low, one.high) for one in cuts]
    score = score_of(view.sources[0]) if view.sources else ""
    return spectrum(
        before.sigma.tolist(), view.cut, before.edge, before.break_even, provenance(view, cuts), name=view.role,
        random=random_spectrum(before.sigma, before.shape).tolist(), after=after.sigma.tolist() if after else None,
        after_colour=AXIS_COLOURS[axis_of(view.recipe)], losses=points, base=cuts[0].base if cuts else 1.0, score=score,
    )  # fmt: skip


def provenance(view: View, cuts: list[CutQuality]) -> str:
    """Where the picture's numbers come from, those of the model's loss as well."""
    if not cuts:
        return view.provenance
    whole = next((one for one in cuts if one.final), cuts[0])
    return f"{view.provenance} · {score_of(view.sources[0])} on {source_words(view.sources[0])}: {whole.scored}"


def formula(view: View, found: Compared) -> None:
    """W = U Vᵀ with the numbers on screen, and what the setting does to this matrix."""
    (m, n), r, before = found.before.shape, view.cut, found.before
    st.markdown(
        rf"$W_{{{m}\times{n}}}\approx U_{{{m}\times{r}}}\,V_{{{n}\times{r}}}^\top$: "
        rf"$r(m+n)={r}\cdot{m + n:,}={r * (m + n):,}$ numbers for $mn={m * n:,}$. Break-even "
        rf"$\lfloor mn/(m+n)\rfloor={before.break_even}$. Stable rank {before.stable:.1f}, entropy rank {before.entropy:.0f} of "
        rf"{before.full}; 90 % of the energy at rank {before.rank_of(0.9)}, 99 % at {before.rank_of(0.99)}.", help=RANKS
    )  # fmt: skip
    if found.after is not None:
        st.caption(f"After the setting, {recipe_words(view.recipe)}: the matrix moved by {found.change:.1%} of its norm; stable "
                   f"rank {found.after.stable:.1f}, entropy rank {found.after.entropy:.0f}.")  # fmt: skip
    elif view.recipe and Recipe.parse(view.recipe).rules and not view.spectrum.pending:
        st.caption("The setting leaves this matrix alone.")


def axis_of(recipe: str) -> str:
    """Whose hue the changed spectrum has."""
    axes = {axis for rule in Recipe.parse(recipe).rules for axis, step in rule.steps.items() if step}
    return axes.pop() if len(axes) == 1 else "combined" if axes else "transform"


# All layers


def all_layers(view: View, ticket: Ticket) -> None:
    """A rank of every matrix over layer and kind, and the spectra of one kind over depth."""
    found: Layers | None = ticket.latest
    if ticket.error is not None:
        return
    if ticket.pending:
        known = found or Layers([], 1)
        told = (f"Singular values, matrix by matrix: {known.done} of {known.total}{time_left(known.left)}" if found
                else "Waiting for the machine …")  # fmt: skip
        st.progress(known.done / known.total, told)
    if found is not None and found.before:
        by_depth(view, found, heat_map(view, found))


def heat_map(view: View, found: Layers) -> Side:
    """A quantity of every matrix; a click selects the matrix. Answers which side of the setting is looked at."""
    which, side = st.columns([2, 3], vertical_alignment="bottom")
    quantity = QUANTITIES[
        which.selectbox("Quantity", list(QUANTITIES), key="map_quantity", help="What each cell shows.", **KEPT)
    ]
    shown: Side = "before"
    if found.after:
        shown = side.segmented_control("Before or after the setting", SIDES, default="before", required=True, key="side",
                                       **KEPT) or "before"  # fmt: skip
    values, (roles, kinds, layers) = found.values(quantity.of, shown), layered(found.roles)
    title = quantity.name.capitalize() + ("" if shown == "before" else f", {shown}")
    name = f"ranks-{view.role}"  # another matrix, another chart: a click that is kept must not come back
    chart(rank_map(values, roles, kinds, layers, view.role, title, every_provenance(view), ratio=not quantity.share,
                   difference=shown == "difference"),
          name, f"{view.model.name}:", on_select=partial(matrix_clicked, name), selection_mode="points")  # fmt: skip
    st.caption(f"{quantity.name.capitalize()}: {quantity.meaning}. A click on a cell selects its matrix.")
    return shown


def by_depth(view: View, found: Layers, side: Side) -> None:
    """The spectra of the selected kind, layer upon layer: after the setting where that is looked at, else before it."""
    kind, layer = kind_and_layer(view.role)
    spectra = {**found.before, **found.after} if side == "after" else found.before
    sigma = {
        one: spectra[role].sigma.tolist()
        for one, role in by_kind(found.before).get(kind, {}).items()
        if one is not None
    }
    if sigma:
        chart(
            spectra_by_depth(
                list(sigma.values()),
                list(sigma),
                f"{kind}, {'after' if side == 'after' else 'before'}" if found.after else kind,
                layer,
                every_provenance(view),
            ),
            "depth",
            f"{view.model.name}:",
        )


def every_provenance(view: View) -> str:
    """Where the numbers of all layers come from."""
    setting = f" · setting {Recipe.parse(view.recipe).short()}"
    return f"{view.model.name} · singular values in float64{setting} · Reparam Explorer"


# Alternating least squares


def alternating(view: View, ticket: Ticket) -> None:
    """How ALS falls towards the SVD's optimum, which no factors of this rank can beat."""
    losses: list[float] = ticket.latest or []
    if ticket.error is not None:
        return
    if view.found is None or not losses:
        st.progress(0.0, "Waiting for the machine …" if ticket.state == "waiting" else
                    f"Round 1 of {ALS.iterations} at most: solving for U with V at random, then for V …")  # fmt: skip
        return
    sigma, r, (m, n) = view.found.before.sigma, view.cut, view.found.before.shape
    optimum = view.found.before.error(r) ** 2
    if ticket.pending:
        st.progress(len(losses) / ALS.iterations, f"Round {len(losses)} of {ALS.iterations} at most: it ends where the loss "
                    f"falls by less than {ALS.tolerance:g} of itself")  # fmt: skip
    provenance = f"{view.provenance} · ALS in float32, random start of seed {ALS.seed}"
    left, right = st.columns(2)
    with left:
        chart(als_convergence(losses, optimum, r, provenance), "als", f"{view.role}:")
    with right:
        chart(als_excess(losses, optimum, convergence_rate(sigma, r), provenance), "als-excess", f"{view.role}:")
    st.markdown(
        rf"**Eckart–Young**: of all $U\,V^\top$ with $U$ {m} × {r} and $V$ {n} × {r}, none is nearer to $W$ than the first {r} "
        rf"singular values with their vectors: $\min\lVert W-UV^\top\rVert^2/\lVert W\rVert^2=\sum_{{i>{r}}}\sigma_i^2/\sum_i\sigma_i^2"
        rf"={optimum:.4f}$. Alternating least squares knows no singular values: it starts at random, solves for $U$ with $V$ "
        rf"fixed, then for $V$ with $U$ fixed, and still falls to the same optimum; in the long run by "
        rf"$(\sigma_{{r+1}}/\sigma_r)^4={convergence_rate(sigma, r):.3f}$ a round, slowly where the spectrum is flat at the cut."
    )  # fmt: skip
