"""What the sensitivity page asks of the evaluator: estimates of every cell, then cells measured one by one."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from reparam_core.apply import applying, base, reading_of
from reparam_core.data import Sequences, identity
from reparam_core.gradients import answers_scored, with_gradients
from reparam_core.jobs.exploring import asked_of, exploring_dtype
from reparam_core.jobs.stepping import last_of, stepping
from reparam_core.measure.quality import refuse_calibrated
from reparam_core.measure.sensitivity import Behind, Cell, Part, alone, everywhere, positions, uncertain
from reparam_core.models import Model
from reparam_core.parametrizations import Statistics
from reparam_core.recipes import Calibration, Recipe, Step
from reparam_core.splits.second_order import second_order
from reparam_core.statistics import one_shot
from reparam_core.store import key, store
from reparam_core.written import Reading, reading

SEQUENCES, LENGTH = 16, 512  # of the calibration text that the estimates read: a backward pass is dear


@dataclass(frozen=True)
class Sensed:
    """The estimates so far: what each matrix costs at each position, by itself."""

    steps: Sequence[Step] = ()  # every position, mildest first
    parts: Mapping[Step, Mapping[str, Part]] = field(default_factory=dict)
    whole: Mapping[str, int] = field(default_factory=dict)  # role → bytes of the matrix as it is
    read: tuple[int, int] = (0, 0)  # how many sequences of how many tokens
    doing: str = ""
    share: float = 0.0

    @property
    def cells(self) -> dict[Cell, float]:
        """Every estimate."""
        return {(step, role): part.loss for step, parts in self.parts.items() for role, part in parts.items()}

    def losses(self, step: Step) -> dict[str, float]:
        """Role → what it is estimated to cost at this position."""
        return {role: part.loss for role, part in self.parts.get(step, {}).items()}


@dataclass(frozen=True)
class Measured:
    """One cell, measured: what compressing this matrix alone adds."""

    loss: float  # nats a token above the base
    low: float | None  # 95 % paired interval
    high: float | None
    tokens: int
    final: bool = True


def sensed(model: Model, step: Step, text: Calibration) -> Iterator[Sensed]:
    """What compressing each matrix of the blocks alone is estimated to cost, at the step's setting and at others.

    `text` is what data-aware steps are calibrated on; the estimates read less of the same.
    """
    steps = positions(step)
    in_order = [step, *(one for one in steps if one != step)]
    known: dict[Step, Mapping[str, Part]] = {}
    read = yield from stepping(_read_of(model, text), lambda _share, what: Sensed(doing=what))
    so_far = Sensed(steps, {}, _whole(model), (len(read.ids), read.ids.shape[1]))
    for index, one in enumerate(in_order):
        recipe = everywhere(text, one)
        name = key(sensitivity=model.sha256, step=one.as_json(), recipe=identity(recipe), read=read.provenance())
        kept = store().get(name)
        if kept is None:
            told = replace(so_far, share=index / len(steps))
            parts = yield from _estimated(model, recipe, read, told)
            store().put(name, {role: asdict(part) for role, part in parts.items()}, model="", recipe="")
        else:
            parts = {role: Part(**part) for role, part in kept.items()}
        known[one] = parts
        so_far = replace(so_far, parts=dict(known), share=(index + 1) / len(steps))
        yield so_far


def _whole(model: Model) -> dict[str, int]:
    untouched = base(model)
    return {role: untouched.form(role).nbytes for role, one in model.matrices.items() if one.compressed_by_default}


def _read_of(model: Model, text: Calibration) -> Reading:
    """What the estimates read: fewer and shorter sequences of what a recipe is calibrated on."""
    return reading(
        model, text.text, min(SEQUENCES, text.sequences), min(LENGTH, text.length), text.offset, text.sentences
    )


def _estimated(
    model: Model, recipe: Recipe, read: Sequences, so_far: Sensed
) -> Generator[Sensed, None, dict[str, Part]]:
    """Role → its part at this position; where it is known what the model's loss does to the matrix's rows."""
    known = yield from _statistics(model, read, so_far)
    setting = yield from stepping(applying(model, recipe), lambda share, what: replace(so_far, doing=what))
    parts: dict[str, Part] = {}
    count = len(read.ids), answers_scored(model, read.ids.shape[1])
    for role, form in setting.forms.items():
        if role in known and known[role].fisher is not None:
            change = form.dense().float() - model.weight(role).float()
            parts[role] = Part(second_order(change, known[role], *count), form.nbytes)
            yield replace(so_far, doing=f"Estimating {role}")
    return parts


def _statistics(model: Model, read: Sequences, so_far: Sensed) -> Generator[Sensed, None, dict[str, Statistics]]:
    """What the text tells of every matrix of the blocks, its rows' gradients as well."""
    roles = [role for role, one in model.matrices.items() if one.compressed_by_default]
    known = yield from stepping(one_shot(model, roles, read), lambda _share, what: replace(so_far, doing=what))
    gradients = with_gradients(model, known, roles, read)
    found = yield from stepping(gradients, lambda _share, what: replace(so_far, doing=what))
    return found


def measured(
    model: Model, step: Step, text: Calibration, source: str, role: str | None = None
) -> Iterator[dict[Cell, Measured]]:
    """Cells measured on the source, growing: of the step's own position first, most uncertain first; each is kept.

    What was measured before comes at once. With a role only that matrix's cells.
    """
    estimates = yield from last_of(sensed(model, step, text), dict[Cell, Measured])
    asked = asked_of(model, source)
    for reads in (_read_of(model, text), reading_of(model, everywhere(text, step))):  # the estimates, and the cells
        read = yield from stepping(reads, lambda _share, _what: dict[Cell, Measured]())
        refuse_calibrated(model, read, asked)
    cells = [cell for cell in estimates.cells if role in (None, cell[1])]
    names = {cell: _name(model, text, cell, asked.key) for cell in cells}
    found = {cell: Measured(**kept) for cell in cells if (kept := store().get(names[cell]))}
    yield dict(found)
    behind = Behind(model, exploring_dtype(model), asked)
    for cell in _most_uncertain_first(step, cells, estimates.cells, found):
        for _ in behind.reading():
            yield dict(found)
        work = applying(model, alone(text, cell[1], cell[0]), dtype=behind.dtype)
        setting = yield from stepping(work, lambda _share, _what: dict(found))
        quality = yield from last_of(behind.steps(setting), lambda: dict(found))
        low, high = quality.interval or (None, None)
        found[cell] = Measured(quality.nll - quality.base_nll, low, high, quality.tokens)
        store().put(names[cell], asdict(found[cell]), model="", recipe="")
        yield dict(found)


def _most_uncertain_first(
    step: Step, cells: Sequence[Cell], estimated: Mapping[Cell, float], found: Mapping[Cell, Measured]
) -> Iterator[Cell]:
    """Of the cells what `found`, which grows meanwhile, has not: at the step's own position first."""
    while left := [cell for cell in cells if cell not in found]:
        doubt = uncertain(estimated, {cell: one.loss for cell, one in found.items()})
        yield min(left, key=lambda cell: (cell[0] != step, -doubt[cell]))


def _name(model: Model, text: Calibration, cell: Cell, asked: str) -> str:
    own = identity(alone(text, cell[1], cell[0]))
    return key(alone=model.sha256, recipe=own, asked=asked, dtype=str(exploring_dtype(model)))
