"""What was found with a file as calibration text is not found again once the file holds another text."""

import json
from pathlib import Path

import pytest
import torch

from reparam_core.apply import finished
from reparam_core.data import text
from reparam_core.jobs import (
    compared_spectrum,
    detailed,
    detailed_before,
    explored,
    explored_before,
    exploring,
    measured,
    measured_so_far,
)
from reparam_core.jobs.exploring import building
from reparam_core.models import Model
from reparam_core.recipes import Calibration, Step

pytestmark = pytest.mark.usefixtures("few_tokens")
STEP = {"method": "wanda", "fraction": 0.7}
ROLE = "layers.2.mlp.up"
SOURCE = ["addresses"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A text of one's own."""
    path = tmp_path / "mine.txt"
    path.write_text(text("moby-dick").content[:2000], encoding="utf-8")
    return path


@pytest.fixture
def recipe(mine: Path) -> str:
    return json.dumps({"rules": [{"sparsity": STEP}], "calibration": read(mine).model_dump()})


def read(path: Path) -> Calibration:
    return Calibration(text=str(path), sequences=4, length=32)


def edit(path: Path) -> None:
    path.write_text(text("dates-train").content[:2000], encoding="utf-8")


def test_points(model: Model, mine: Path, recipe: str) -> None:
    (*_, first) = explored(model, recipe, SOURCE)
    shorts = [one.short for one in measured_so_far(model, "addresses")]
    edit(mine)
    assert explored_before(model, recipe, SOURCE) is None
    assert [one.short for one in measured_so_far(model, "addresses")] == ["base"] != shorts
    (*_, second) = explored(model, recipe, SOURCE)
    assert second.points["addresses"].perplexity != first.points["addresses"].perplexity
    assert explored_before(model, recipe, SOURCE) == exploring.Explored(
        {"addresses": measured_so_far(model, "addresses")[-1]}
    )


def test_what_was_built(model: Model, mine: Path, recipe: str) -> None:
    first = finished(building(model, recipe))
    assert finished(building(model, recipe)) is first
    edit(mine)
    second = finished(building(model, recipe))
    assert not torch.equal(second.forms[ROLE].dense(), first.forms[ROLE].dense())


def test_details(model: Model, mine: Path, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("task_steps", "_latencies"):
        monkeypatch.setattr(exploring, name, lambda _setting: iter([]))
    list(detailed(model, recipe))
    assert detailed_before(model, recipe) is not None
    edit(mine)
    assert detailed_before(model, recipe) is None


def test_spectra(model: Model, mine: Path, recipe: str) -> None:
    first = list(compared_spectrum(model, ROLE, recipe))[-1]
    edit(mine)
    second = list(compared_spectrum(model, ROLE, recipe))[-1]
    assert second.change != first.change


def test_cells_of_the_sensitivity(model: Model, mine: Path) -> None:
    step = Step.parse("sparsity", STEP)

    def cell() -> float:
        return next(found for found in measured(model, step, read(mine), "addresses", ROLE) if found)[step, ROLE].loss

    first = cell()
    assert cell() == first
    edit(mine)
    assert cell() != first
