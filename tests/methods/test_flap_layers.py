"""Whole layers that move little: their shares by hand, and what is answered in their place."""

from pathlib import Path

import pytest
import torch

from reparam_core import apply, load
from reparam_core.methods.settings import SparsitySetting
from reparam_core.methods.sparsity.flap_layers import FLAPLayers
from reparam_core.parametrizations import Leaf
from reparam_core.roles import layer_of
from tests.methods.leaves import added, inputs, leaf, matrix
from tests.methods.test_structured import captured
from tests.tiny import read, saved

pytestmark = pytest.mark.usefixtures("own_store")
NAMES = ["llama", "gpt2", "bert", "t5"]
METHOD = FLAPLayers()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models"), *NAMES)


def drawn(layer: str, seed: int) -> dict[str, Leaf]:
    """A layer whose inputs have means far from nothing, and whose widths differ."""
    return {f"{layer}.{part}": leaf(matrix((7, width), seed), inputs(width, seed=seed) + 3)
            for part, width in (("attention.o", 12), ("mlp.down", 20), ("attention.q", 9))}  # fmt: skip


def moved(leaves: dict[str, Leaf], seed: int) -> float:
    """The variance of what leads out of the layer, channel by channel from the answers themselves."""
    answers = {12: (inputs(12, seed=seed) + 3).double(), 20: (inputs(20, seed=seed) + 3).double()}
    return sum(float((answers[one.weight.shape[1]] @ one.weight.double().T).var(0, correction=0).sum())
               for name, one in leaves.items() if not name.endswith(".q"))  # fmt: skip


def test_a_layer_is_told_by_its_share_of_what_moves_behind_it() -> None:
    """Stack by stack and in the order of the layers, whatever order they come in."""
    seeds = {f"{stack}.layers.{number}": place * 20 + number
             for place, stack in enumerate(("encoder", "decoder")) for number in range(11)}  # fmt: skip
    layers = {name: drawn(name, seed) for name, seed in seeds.items()}
    leaves = {name: one for own in reversed(layers.values()) for name, one in own.items()}
    found = METHOD.prepare(leaves)
    assert set(found) == set(layers)
    for stack in ("encoder", "decoder"):
        behind = 0.0
        for number in range(11):
            name = f"{stack}.layers.{number}"
            own = moved(layers[name], seeds[name])
            behind += own
            assert found[name].tolist() == pytest.approx([own / behind], rel=1e-3)
    gone = {layer_of(name) for name, form in METHOD.at(found, leaves, SparsitySetting(fraction=0.3)).items()
            if not form.dense().any()}  # fmt: skip
    least = {stack: sorted(range(11), key=lambda number: float(found[f"{stack}.layers.{number}"]))[:3]
             for stack in ("encoder", "decoder")}  # fmt: skip
    assert gone == {f"{stack}.layers.{number}" for stack, numbers in least.items() for number in numbers}


def test_what_never_moves_goes_first() -> None:
    """Also where nothing before it moves, and with as little trace as its mean leaves."""
    still, x = torch.ones(50, 6), inputs(6)
    leaves = {f"layers.{number}.mlp.down": leaf(matrix((4, 6), number), still if number < 2 else x)
              for number in range(4)}  # fmt: skip
    found = METHOD.prepare(leaves)
    assert [float(found[f"layers.{number}"]) for number in range(3)] == pytest.approx([0, 0, 1], abs=1e-3)
    forms = METHOD.at(found, leaves, SparsitySetting(fraction=0.5))
    for name in list(leaves)[:2]:
        torch.testing.assert_close(forms[name](still), still @ leaves[name].weight.T)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("then", ["", " + gptq:4g16"])
def test_what_a_layer_wrote_on_average_stays(name: str, then: str, folder: Path) -> None:
    """Of every o and down that is gone, in the whole model against hooks; what is left takes codes."""
    model = load(folder / name)
    setting = apply(model, f"flap-layers:0.5{then}", calibration=read())
    gone = [role for role, form in setting.forms.items() if not form.operations]
    assert len({layer_of(role) for role in gone}) == (2 if name == "t5" else 1)
    assert "layers.0" not in {layer_of(role) for role in gone}
    out = [role for role in gone if role.endswith((".o", ".down"))]
    rows = captured(model, model.module, out)
    for role in out:
        mean = (rows[role][0].double() @ model.weight(role).double().T).mean(0).float()
        torch.testing.assert_close(added(setting.forms[role]), mean, rtol=1e-2, atol=1e-4)
    assert not any(added(setting.forms[role]).any() for role in set(gone) - set(out))
    assert {form.form for role, form in setting.forms.items() if role not in gone} == {"quantized" if then else "dense"}
