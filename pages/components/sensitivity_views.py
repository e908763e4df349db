"""What the sensitivity page shows: the map, the recipes that follow from it, estimates against measurements, a curve."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import plotly.graph_objects as go
import streamlit as st

from pages.components.charts import chart, live_chart
from pages.components.history import load_recipe, of_a_recipe, remember
from pages.components.matrix import matrix_clicked
from pages.components.units import unit_of
from pages.components.words import source_words
from reparam_core.figures.sensitivity import Cost, estimate_against_measured, loss_curve, loss_map, nats, two_digits
from reparam_core.jobs import Explored, Measured, Point, Sensed, Ticket
from reparam_core.measure.sensitivity import (
    Cell,
    Part,
    agreement,
    everywhere,
    of_each,
    scale,
    scale_of_sum,
    split,
    worst,
)
from reparam_core.measure.spectra import layered
from reparam_core.models import Model
from reparam_core.recipes import Calibration, Step

EVERYWHERE, PROTECTED, SPLIT = "The same everywhere", "Protect the worst", "Split the budget by loss"


@dataclass(frozen=True)
class Scale:
    """What estimates are multiplied by, what has it so, and what their sum is called: a prediction once parts were measured."""

    factor: float = 1.0
    had_by: str = ""  # in words; empty where nothing measured has it
    sums: str = "Estimates add up to"  # of a proposal
    every: str = ("estimates add up to {sum} nats a {unit}, often several times too much before a measurement scales them; "
                  "together {outcome}")  # fmt: skip

    @property
    def told(self) -> str:
        """`, times 0.17 as all together were measured`."""
        return f", times {two_digits(self.factor)} as {self.had_by}" if self.had_by else ""


@dataclass
class View:
    """What the page looks at: the controls' state, and its jobs."""

    model: Model
    step: Step
    text: Calibration
    sources: list[str]  # what is scored: one, or none
    role: str
    spared: int
    estimates: Ticket
    proposed: dict[str, Ticket] = field(default_factory=dict)  # proposal → its joint measurement
    cells: list[Ticket] = field(default_factory=list)  # of this matrix, of all

    @property
    def known(self) -> Sensed:
        """The estimates so far."""
        return self.estimates.latest or Sensed()

    @property
    def tickets(self) -> list[Ticket]:
        """Whatever may still bring something."""
        return [*self.proposed.values(), *self.cells]

    @property
    def measured(self) -> dict[Cell, Measured]:
        """Every cell that was measured."""
        return {cell: one for ticket in self.cells for cell, one in (ticket.latest or {}).items()}

    @cached_property
    def counted(self) -> tuple[Mapping[Cell, float], float]:
        """Measured cells that the proposals are made of, and the factor of the others: as they were when last asked for."""
        looked_at, cells, factor = st.session_state.get("counted", (None, {}, 1.0))
        return (cells, factor) if looked_at == self.looked_at else ({}, 1.0)

    @property
    def looked_at(self) -> tuple[Hashable, ...]:
        """What tells cells of one view from those of another."""
        return (self.model.name, self.step, self.text, *self.sources)

    @property
    def scale(self) -> Scale:
        """As the cells measured so far have it; where they are too few, as all matrices at the chosen setting have it together."""
        if factor := scale(self.known.cells, {cell: one.loss for cell, one in self.measured.items()}):
            return Scale(factor, "the measured cells have it", "Predicted, the sum of the parts:",
                         "all together are predicted to add {sum} nats a {unit}, {outcome}")  # fmt: skip
        together = self.joint(EVERYWHERE)
        lost = together.delta_nll if together and together.final else 0.0
        if factor := scale_of_sum(self.known.losses(self.step).values(), lost):
            return Scale(factor, "all together were measured", "Estimates, scaled to what the same everywhere adds, add up to",
                         "all together {outcome} nats a {unit}")  # fmt: skip
        return Scale()

    @property
    def unit(self) -> str:
        """What a loss is counted by."""
        return unit_of(self.model)

    def costs_of(self, chosen: Mapping[str, Step | None]) -> dict[str, Cost]:
        """Of these matrices, each at its step: measured where it is, else the estimate on the scale of what is measured."""
        known, measured, factor = self.known, self.measured, self.scale.factor
        found = {}
        for role, step in chosen.items():
            if step is not None:
                part, one = known.parts[step][role], measured.get((step, role))
                share = part.bytes / known.whole[role]
                found[role] = (Cost(role, one.loss, one.low, one.high, True, share) if one
                               else Cost(role, factor * part.loss, share=share))  # fmt: skip
        return found

    @property
    def costs(self) -> dict[str, Cost]:
        """Of every matrix at the chosen setting."""
        return self.costs_of(dict.fromkeys(self.known.parts.get(self.step, {}), self.step))

    @cached_property
    def chosen(self) -> dict[str, dict[str, Step | None]]:
        """Proposal → what each matrix gets: by what is counted, so that a measured cell does not change what is measured jointly."""
        parts = self._parts
        spared = worst({role: part.loss for role, part in parts[self.step].items()}, self.spared)
        same: dict[str, Step | None] = dict.fromkeys(parts[self.step], self.step)
        options = {role: [(None, Part(0.0, self.known.whole[role])), *((step, found[role]) for step, found in parts.items())]
                   for role in same}  # fmt: skip
        budget = sum(part.bytes for part in parts[self.step].values())
        return {EVERYWHERE: same, PROTECTED: same | dict.fromkeys(spared, None), SPLIT: split(options, budget)}

    @property
    def _parts(self) -> dict[Step, dict[str, Part]]:
        """Every cell: its counted measurement where it has one, else the estimate on the scale of those that have."""
        cells, factor = self.counted
        return {step: {role: replace(part, loss=cells.get((step, role), factor * part.loss)) for role, part in found.items()}
                for step, found in self.known.parts.items()}  # fmt: skip

    @cached_property
    def recipes(self) -> dict[str, str]:
        """Proposal → its recipe."""
        spared = [role for role, step in self.chosen[PROTECTED].items() if step is None]
        return {EVERYWHERE: everywhere(self.text, self.step).canonical,
                PROTECTED: everywhere(self.text, self.step, spared).canonical,
                SPLIT: of_each(self.text, self.chosen[SPLIT]).canonical}  # fmt: skip

    def predicted(self, name: str) -> float:
        """The sum of the parts: what each matrix of a proposal costs alone."""
        return sum(one.loss for one in self.costs_of(self.chosen[name]).values())

    def bytes_of(self, name: str) -> float:
        """Bytes of the matrices, against those that they have as they are."""
        kept = sum(self.known.parts[step][role].bytes if step else self.known.whole[role]
                   for role, step in self.chosen[name].items())  # fmt: skip
        return kept / sum(self.known.whole[role] for role in self.chosen[name])

    def joint(self, name: str) -> Point | None:
        """What the proposal was measured to cost, all its matrices together."""
        found: Explored | None = self.proposed[name].latest if name in self.proposed else None
        return next(iter(found.points.values()), None) if found else None

    @property
    def read(self) -> str:
        """What the estimates read, which is less than what a recipe is calibrated on."""
        count, length = self.known.read
        return f"{count} × {length} tokens of {source_words(self.text.text)}"

    def provenance(self, scaled: str = "") -> str:
        """Where the numbers come from, and how the estimates among them were scaled."""
        scored = next((one.tokens for one in self.measured.values()), None)
        told = f"measured on {scored:,} tokens of {source_words(self.sources[0])}" if scored else "nothing measured yet"
        return (f"{self.model.name} · {self.step.short()} on one matrix at a time · estimates from {self.read}{scaled}; "
                f"{told} · Reparam Explorer")  # fmt: skip


def added(loss: float, low: float | None = None, high: float | None = None) -> str:
    """`+0.012 (+0.009 to +0.015)`."""
    return nats(loss) + (f" ({nats(low)} to {nats(high)})" if low is not None and high is not None else "")


def sentence(view: View) -> str:
    """Which matrix costs most, and what all of them cost together."""
    costs = view.costs
    if not costs:
        return "No matrix of this model has gradients over the calibration text."
    dearest = max(costs.values(), key=lambda one: one.loss)
    told = (f"{view.model.name} with one matrix at a time at {view.step.setting.told()} ({view.step.method.name}): "
            f"{dearest.name} costs most, {dearest.told()}; ")  # fmt: skip
    every = {"sum": added(view.predicted(EVERYWHERE)), "unit": view.unit, "outcome": outcome(view, EVERYWHERE)}
    return f"{told}{view.scale.every.format(**every)}."


def outcome(view: View, name: str) -> str:
    """`measured +0.31 (+0.28 to +0.33)`, or why a proposal is not."""
    point = view.joint(name)
    if point is None:
        return "still to be measured" if view.sources else "no head to score"
    if not point.final:
        return f"measured {added(point.delta_nll)} (so far)"
    return f"measured {added(point.delta_nll, *(point.nll_interval or (None, None)))}"


def estimating(view: View) -> None:
    """How far the estimates are; the map as soon as it is there."""
    known = view.known
    waiting = "Waiting for the machine" if view.estimates.state == "waiting" else "Estimating"
    st.progress(known.share, f"{known.doing or waiting} …")
    if view.costs:
        chart(heat_map(view), "sensitivity-estimates")


def charts(view: View, every: float, between: Callable[[], None]) -> None:
    """The map, what stands between, then estimates against measurements beside the matrix's curve."""
    name = f"sensitivity-{view.role}"  # another matrix, another chart: a click that is kept must not come back
    live_chart(lambda: _after_a_click(heat_map, view), name, *view.tickets, every=every,
               on_select=partial(matrix_clicked, name), selection_mode="points")  # fmt: skip
    between()
    left, right = st.columns(2)
    with left:
        if view.sources:
            other = f"agreement-{view.role}"
            live_chart(lambda: _after_a_click(against, view), other, *view.cells, every=every,
                       on_select=partial(matrix_clicked, other), selection_mode="points")  # fmt: skip
        else:
            st.caption("This model has no head to score: its estimates are all there is.")
    with right:
        live_chart(lambda: curve(view), "curve", *view.tickets, every=every)


def _after_a_click(draw: Callable[[View], go.Figure | None], view: View) -> go.Figure | None:
    if st.session_state.pop("picked", False):
        st.rerun()  # what was picked in this fragment moves the controls outside it
    return draw(view)


def heat_map(view: View) -> go.Figure:
    """Every matrix at the chosen setting; above it how to read it, of the very costs that it shows."""
    (roles, kinds, layers), costs = layered(view.known.whole), view.costs
    count = sum(one.measured for one in costs.values())
    scaled = view.scale.told
    st.caption(f"A dot: measured ({count} of {len(costs)}); without: estimate, from {view.read}{scaled}. "
               "A click on a cell selects its matrix.")  # fmt: skip
    return loss_map(
        costs, roles, kinds, layers, view.role, view.step.setting.told(), view.provenance(scaled), view.unit
    )


def against(view: View) -> go.Figure | None:
    """Every measured cell against its estimate; their rank correlation from eight cells on."""
    found = [one for one in view.costs.values() if one.measured]
    pairs = [(Cost(one.name, view.known.parts[view.step][one.name].loss), one) for one in found]
    if not pairs:
        st.caption("Measurements stand here beside their estimates as soon as the first cell is measured.")
        return None
    agreed = agreement(view.known.losses(view.step), {estimate.name: cost.loss for estimate, cost in pairs})
    return estimate_against_measured(pairs, view.role, agreed.correlation if agreed else None, view.step.axis, view.provenance(),
                                     view.unit)  # fmt: skip


def curve(view: View) -> go.Figure | None:
    """The selected matrix over positions."""
    parts = {step: found[view.role] for step, found in view.known.parts.items() if view.role in found}
    if not parts:
        return None
    whole, scaled = view.known.whole[view.role], view.scale
    estimates = [
        Cost(step.setting.short(), scaled.factor * part.loss, share=part.bytes / whole) for step, part in parts.items()
    ]
    found = {step: one for (step, role), one in view.measured.items() if role == view.role and step in parts}
    costs = [
        Cost(step.setting.short(), one.loss, one.low, one.high, True, parts[step].bytes / whole)
        for step, one in found.items()
    ]
    return loss_curve(
        estimates, costs, view.role, view.step.setting.short(), view.step.axis, view.provenance(scaled.told), view.unit
    )


def proposals(view: View) -> None:
    """Three recipes side by side: bytes, the sum of the parts, the joint measurement, and the way to Trade-offs."""
    _offer_what_is_measured(view)
    for column, name in zip(st.columns(3), view.recipes, strict=True):
        with column, st.container(border=True):
            title = f"{name} {view.spared}" if name == PROTECTED else name
            st.markdown(f"**{title}** · {view.bytes_of(name):.2f}× the bytes of the matrices")
            st.caption(
                f"{view.scale.sums} {added(view.predicted(name))} nats a {view.unit}; together {outcome(view, name)}."
            )
            st.button("To Trade-offs", icon=":material/arrow_forward:", key=f"take-{name}", on_click=_take, args=(view.recipes[name],),
                      width="stretch", help=HELP[name])  # fmt: skip
    if st.session_state.pop("taken", False):
        st.switch_page("pages/trade_offs.py", query_params={})


def _offer_what_is_measured(view: View) -> None:
    """A button where cells were measured that the proposals are not made of: only then do they change."""
    cells, measured = view.known.cells, {cell: one.loss for cell, one in view.measured.items()}
    counted = len(view.counted[0])
    told = f"the proposals are made of {counted:,} measured cells and estimates of the others"
    if len(measured) > counted:
        st.button(f"Use what is measured ({len(measured):,} of {len(cells):,} cells)", icon=":material/refresh:", key="count",
                  on_click=_count, args=(view.looked_at, measured, view.scale.factor), help=f"So far {told}.")  # fmt: skip
    if st.session_state.pop("recounted", False):
        st.rerun()  # what is measured jointly is asked for outside this fragment


def _count(looked_at: tuple[Hashable, ...], measured: Mapping[Cell, float], factor: float) -> None:
    st.session_state.update(counted=(looked_at, measured, factor), recounted=True)


def _take(recipe: str) -> None:
    """The recipe counts from now on, and no longer what a link said of one."""
    if not st.session_state.get("history"):
        remember()  # so that there is something to go back to where no page had a recipe before
    load_recipe(recipe)
    for said in (st.session_state["address"], st.session_state["unheard"]):
        for key in filter(of_a_recipe, list(said)):
            del said[key]
    st.session_state["taken"] = True


HELP = {
    EVERYWHERE: "Every matrix of the blocks at this setting.",
    PROTECTED: "The same, but the matrices that cost most by themselves stay as they are. This takes more bytes than the "
    "same everywhere: compare it, at equal bytes, with a milder setting of all, and with the split of that.",
    SPLIT: "A setting of its own for each matrix, of those on the curve: the least sum of losses at the same bytes.",
}
