"""What a model writes to be calibrated on: the likeliest words where it says so, the same each time, written once."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from reparam_core import ReparamError, apply, load
from reparam_core.apply import finished
from reparam_core.models import Model
from reparam_core.written import CERTAIN, reading
from tests.tiny import saved

pytestmark = pytest.mark.usefixtures("own_store")
RECIPE = {"rules": [{"sparsity": {"method": "wanda", "fraction": 0.5}}],
          "calibration": {"text": "written", "sequences": 6, "length": 12}}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(str(saved(tmp_path_factory.mktemp("models"), "llama") / "llama"))


def test_it_goes_on_with_the_likeliest_and_then_as_it_draws(model: Model) -> None:
    found = finished(reading(model, "written", 20, 12))
    assert found.ids.shape == (20, 12)
    for place in range(1, CERTAIN + 1):
        with torch.inference_mode():
            logits = model.module(input_ids=found.ids[:, :place]).logits[:, -1]
        assert torch.equal(logits.argmax(-1), found.ids[:, place])
    with torch.inference_mode():
        likeliest = model.module(input_ids=found.ids[:, :-1]).logits[:, -1].argmax(-1)
    assert not torch.equal(likeliest, found.ids[:, -1])
    assert len({tuple(row) for row in found.ids.tolist()}) == 20


def test_it_is_written_once_and_told_on_the_way(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[str]()
    first = finished(reading(model, "written", 4, 9), lambda _share, what: told.append(what))
    assert told[0] == "The model writes its calibration text: 0 of 4 sequences"
    monkeypatch.setattr("reparam_core.written._write", lambda *_: pytest.fail("written again"))
    again = finished(reading(model, "written", 4, 9))
    assert torch.equal(first.ids, again.ids)
    assert first.provenance() == again.provenance()


def test_another_seed_is_another_text(model: Model) -> None:
    one, other = (finished(reading(model, "written", 4, 9, seed)) for seed in (0, 1))
    assert not torch.equal(one.ids, other.ids)
    assert one.sha256 != other.sha256


def test_a_recipe_is_calibrated_on_it(model: Model) -> None:
    read = finished(reading(model, "written", 6, 12))
    own, given = apply(model, RECIPE), apply(model, "wanda:0.5", calibration=read)
    assert own.calibration is not None
    assert own.calibration.name == "written"
    for role, form in own.forms.items():
        assert torch.equal(form.dense(), given.forms[role].dense()), role


@pytest.mark.parametrize(
    "ask", [lambda model: apply(model, RECIPE), lambda model: finished(reading(model, "written", 2, 8))]
)
def test_an_encoder_writes_nothing(ask: Callable[[Model], object], tmp_path: Path) -> None:
    encoder = load(str(saved(tmp_path, "bert") / "bert"))
    with pytest.raises(ReparamError, match="writes no text of its own"):
        ask(encoder)


def test_it_is_mixed_with_sentences_where_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("embedded-decoder")
    alone = finished(reading(model, "written", 3, 9))
    monkeypatch.setattr("reparam_core.written._write", lambda *_: pytest.fail("written again"))
    mixed = finished(reading(model, "written", 6, 9, 0, 0.5))
    assert torch.equal(mixed.ids[::2], alone.ids)
    assert mixed.provenance()["sentences"] == 0.5
    assert not set(map(tuple, mixed.ids[1::2].tolist())) & set(map(tuple, alone.ids.tolist()))
