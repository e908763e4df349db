"""What the sensitivity page asks for: estimates, then measured cells, kept, and given up when nobody wants them."""

from pathlib import Path

import pytest

from reparam_core import ReparamError, apply
from reparam_core.data import text
from reparam_core.jobs import Measured, Sensed, exploring, measured, sensed
from reparam_core.jobs import sensitivity as jobs
from reparam_core.measure.quality import quality
from reparam_core.measure.sensitivity import alone, positions
from reparam_core.models import Model
from reparam_core.recipes import Calibration, Step

TEXT = Calibration(sequences=4, length=64)
STEP = Step.parse("bits", {"method": "rtn", "bits": 3, "group": 64})
pytestmark = pytest.mark.usefixtures("few_tokens")


def last(model: Model) -> Sensed:
    return list(sensed(model, STEP, TEXT))[-1]


def test_estimates_come_position_by_position_the_chosen_one_first(model: Model) -> None:
    steps = list(sensed(model, STEP, TEXT))
    assert next(list(one.parts) for one in steps if one.parts) == [STEP]
    found, blocks = steps[-1], [role for role, one in model.matrices.items() if one.compressed_by_default]
    assert set(found.parts) == set(found.steps) == set(positions(STEP))
    assert all(set(parts) == set(blocks) for parts in found.parts.values())
    assert len(found.cells) == len(blocks) * len(found.steps)
    mildest, harshest = (found.parts[found.steps[index]] for index in (0, -1))
    assert all(mildest[role].loss < harshest[role].loss for role in blocks)
    assert all(mildest[role].bytes > harshest[role].bytes for role in blocks)
    assert any(one.doing for one in steps)


def test_estimates_are_found_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    first = last(model)
    monkeypatch.setattr(jobs, "applying", None)
    again = list(sensed(model, STEP, TEXT))
    assert len(again) == len(first.steps)
    assert again[-1].cells == first.cells


def test_cells_are_measured_dearest_first_and_kept(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = last(model).losses(STEP)
    found: dict = {}
    for found in measured(model, STEP, TEXT, "addresses"):
        if len(found) == 3:
            break
    in_order = sorted(losses, key=losses.__getitem__, reverse=True)
    assert list(found) == [(STEP, role) for role in in_order[:3]]
    role = in_order[0]
    whole = quality(apply(model, alone(TEXT, role, STEP)), exploring.asked_of(model, "addresses"))
    cell: Measured = found[STEP, role]
    assert cell.loss == pytest.approx(whole.nll - whole.base_nll, abs=1e-6)
    assert (cell.low, cell.high) == pytest.approx(whole.interval, abs=1e-5)
    assert cell.tokens == whole.tokens
    monkeypatch.setattr(jobs, "applying", None)
    again = next(one for one in measured(model, STEP, TEXT, "addresses") if one)
    assert again == found


def test_one_matrix_alone_is_measured_at_every_position(model: Model) -> None:
    found = list(measured(model, STEP, TEXT, "addresses", "layers.1.mlp.down"))[-1]
    assert {role for _, role in found} == {"layers.1.mlp.down"}
    assert {step for step, _ in found} == set(positions(STEP))
    assert next(iter(found))[0] == STEP


def test_cells_are_not_measured_on_what_they_are_calibrated_on(model: Model, tmp_path: Path) -> None:
    """Nor where only what the estimates leave out holds it: they read fewer sequences."""
    mine = tmp_path / "mine.txt"
    mine.write_text(text("moby-dick").content[:4000] + text("addresses").content[:1000], encoding="utf-8")
    long = Calibration(text=str(mine), sequences=100, length=32)
    wanda = Step.parse("sparsity", {"method": "wanda", "fraction": 0.5})
    with pytest.raises(ReparamError, match="32 tokens in a row"):
        list(measured(model, wanda, long, "addresses", "layers.1.mlp.down"))
    assert next(measured(model, STEP, long, "addresses", "layers.1.mlp.down")) is not None


def test_every_axis_is_estimated(model: Model) -> None:
    for axis, said in {
        "rank": {"method": "svd", "keep": 0.5},
        "sparsity": {"method": "wanda", "fraction": 0.5},
    }.items():
        step = Step.parse(axis, said)
        first = next(one for one in sensed(model, step, TEXT) if one.parts)
        assert all(part.loss > 0 for part in first.parts[step].values())
