"""Whether a recipe fits a model is told before any number is touched."""

from pathlib import Path

import pytest

from reparam_core import ReparamError, apply, load
from reparam_core.apply import check
from reparam_core.models import Model, write_packed
from reparam_core.parametrizations import Dense, Parametrization
from tests.tiny import read, saved

pytestmark = pytest.mark.usefixtures("own_store")
EMBEDDING = '{"rules": [{"where": "embedding", "bits": {"method": "gptq", "bits": 4}}]}'
WHOLE = '{"rules": [{"sparsity": {"method": "magnitude", "fraction": 0.5, "scope": "model"}, "bits": {"method": "gptq", "bits": 4, "statistics": "sequential"}}]}'
NOWHERE = '{"rules": [{"where": "nothing*", "bits": {"method": "rtn", "bits": 4}}]}'
MISFITS = {
    "svd:r99999": r"layers\.0\.attention\.k: Rank 99999 is above the full rank 16 .* at most 16",
    "als:r17": "above the full rank 16",
    "svd:r2 + magnitude:2:4": r"2:4 needs rows of at least 4 numbers; these have 2",
    "magnitude:8:32 + rtn:4": None,
    "svd:r1 + sparsegpt:1:2": "rows of at least 2 numbers; these have 1",
    "svd:e0.5 + magnitude:2:4": None,  # what rank that is only the numbers tell
    "svd:r16 + magnitude:0.5 + rtn:4g999": None,  # the last group of a row may be short
    "wanda:t0.1": "no threshold on the weights cuts",
    "codebook:3g8": "not for a group",
    "mxfp4:4g64": "one scale for every 32 numbers",
    WHOLE: "cannot go block by block",
    NOWHERE: "matches nothing",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(saved(tmp_path_factory.mktemp("models"), "llama", "bert") / "llama")


@pytest.fixture
def untouchable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No matrix is read."""

    def never(*_: object) -> Parametrization:
        raise AssertionError("a number was touched")

    monkeypatch.setattr(Model, "form", never)
    monkeypatch.setattr(Model, "weight", never)


@pytest.mark.parametrize("recipe", MISFITS)
@pytest.mark.usefixtures("untouchable")
def test_shapes_tell_whether_a_recipe_fits(recipe: str, small: Model) -> None:
    told = MISFITS[recipe]
    if told is None:
        check(small, recipe, read())
        return
    for ask in (check, lambda *asked: apply(*asked[:2], calibration=asked[2])):
        with pytest.raises(ReparamError, match=told):
            ask(small, recipe, read())


@pytest.mark.usefixtures("untouchable")
def test_an_embedding_has_no_inputs(small: Model) -> None:
    check(small, EMBEDDING, read())  # tied to the head, which multiplies
    with pytest.raises(ReparamError, match="multiplies nothing"):
        check(load("embedded-encoder"), EMBEDDING.replace("embedding", "embedding*"))


def test_what_was_compressed_already_leaves_nothing_to_work_on(small: Model, tmp_path: Path) -> None:
    setting = apply(small, "svd:r4 + rtn:4g8")
    write_packed(tmp_path / "out", small, setting.forms, setting.storage)
    again = load(tmp_path / "out")
    with pytest.raises(ReparamError, match="already: rtn:2 has nothing to work on"):
        check(again, "rtn:2")
    halves = apply(small, "svd:r4")
    write_packed(tmp_path / "halves", small, halves.forms, halves.storage)
    with pytest.raises(ReparamError, match="these have 4"):
        check(load(tmp_path / "halves"), "magnitude:4:8")
    assert isinstance(again.form("embedding"), Dense)


def test_a_calibration_that_cannot_be_read_is_told_too(small: Model) -> None:
    recipe = '{"rules": [{"bits": {"method": "gptq", "bits": 4}}], "calibration": {"text": "nowhere"}}'
    with pytest.raises(ReparamError, match="no text 'nowhere'"):
        check(load("embedded-decoder"), recipe)
    with pytest.raises(ReparamError, match="no tokenizer"):
        check(small, "gptq:4")
    assert check(small, "gptq:4", read()).calibration is not None
    assert check(small, "rtn:4", read()).calibration is None
