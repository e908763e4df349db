"""Matrices that read the same inputs share what is prepared of them; each is still looked at itself."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reparam_core import ReparamError, apply, load
from reparam_core.apply.steps import prepared_name
from reparam_core.methods.base import OfInputsMethod
from reparam_core.parametrizations import Leaf
from reparam_core.registry import methods
from reparam_core.store import store
from tests.methods.leaves import inputs, matrix, statistics
from tests.tiny import built, read, saved

pytestmark = pytest.mark.usefixtures("own_store")
OF_INPUTS = [name for name, kind in methods().items() if not kind.reads_weight]
SHARING = pytest.mark.parametrize("name", [name for name in OF_INPUTS if methods()[name].caches])
STEPS = {"sparsity": {"fraction": 0.5}, "bits": {"bits": 4, "group": 16}}


def recipe(name: str, where: str) -> str:
    axis = methods()[name].axis
    return json.dumps({"rules": [{"where": where, axis: {"method": name, **STEPS[axis]}}]})


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How wide the inputs were, each time that something was prepared of them."""
    widths, whole = list[int](), OfInputsMethod.prepare

    def noted(self: OfInputsMethod, leaves: dict[str, Leaf]) -> dict[str, torch.Tensor]:
        widths.extend(leaf.weight.shape[1] for leaf in leaves.values())
        return whole(self, leaves)

    monkeypatch.setattr(OfInputsMethod, "prepare", noted)
    return widths


@SHARING
@pytest.mark.parametrize(
    ("where", "wanted"),
    [("layers.0.attention.{q,k,v}", [32]), ("layers.*", [32, 32, 32, 32, 32, 32, 48, 48]), ("layers.1.mlp.up", [32])],
)
def test_the_same_inputs_are_prepared_once(
    name: str, where: str, wanted: list[int], solved: list[int], tmp_path: Path
) -> None:
    """And every matrix becomes what it becomes alone."""
    model = load(saved(tmp_path, "llama") / "llama")
    together = apply(model, recipe(name, where), calibration=read()).forms
    assert sorted(solved) == wanted
    for role, form in together.items():
        assert torch.equal(form.dense(), apply(model, recipe(name, role), calibration=read()).forms[role].dense())
    assert sorted(solved) == wanted


@SHARING
def test_it_is_one_entry_of_the_store(name: str) -> None:
    """Of other inputs, or by another setting of the method, another."""
    method, known = methods()[name](), statistics(inputs(12))
    leaves = {role: Leaf("", matrix((rows, 12), rows), statistics=known) for role, rows in (("q", 7), ("k", 3))}
    history = {role: f"model/{role}" for role in leaves}
    names = {prepared_name(method, {role: leaf}, history) for role, leaf in leaves.items()}
    other = Leaf("", matrix((7, 12)), statistics=known.sliced(None, torch.arange(12)))
    assert len(names) == 1
    assert prepared_name(method, {"q": other}, history) not in names
    assert not store().has_tensors(names.pop())


@pytest.mark.parametrize("name", OF_INPUTS)
@pytest.mark.parametrize("before", [False, True])
def test_a_matrix_that_is_not_finite_is_told_though_all_is_prepared(name: str, before: bool, tmp_path: Path) -> None:
    built("llama").half().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.self_attn.v_proj.weight"][3, 4] = torch.nan
    save_file(tensors, file, {"format": "pt"})
    model = load(tmp_path)
    if before:
        apply(model, recipe(name, "layers.1.attention.{q,k}"), calibration=read())
    with pytest.raises(ReparamError, match=r"layers\.1\.attention\.v: .* not finite") as caught:
        apply(model, recipe(name, "layers.1.attention.{q,k,v}"), calibration=read())
    assert "\n" not in str(caught.value)
