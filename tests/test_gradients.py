"""Fisher information of rows is that of plain autograd on a copy of the model, and leaves the shared one alone."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.pytorch_utils import Conv1D

from reparam_core import ReparamError, apply, gradients, load
from reparam_core.apply import Returning
from reparam_core.gradients import with_gradients
from reparam_core.models import Model, write_packed
from reparam_core.parametrizations import Statistics
from reparam_core.statistics import one_shot
from tests.tiny import FAMILIES, SMALL, read, saved

pytestmark = pytest.mark.usefixtures("own_store")
HEADS = {
    "classifier": t.BertForSequenceClassification(t.BertConfig(**SMALL, num_labels=3)),
    "encoder": t.BertModel(t.BertConfig(**SMALL)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = saved(tmp_path_factory.mktemp("models"), *FAMILIES)
    for name, one in HEADS.items():
        one.half().save_pretrained(place / name)
    return place


def known(model: Model, roles: list[str] | None = None, seed: int = 0) -> dict[str, Statistics]:
    """Statistics of the matrices of the blocks, with gradients of these or of all."""
    text = read(seed=seed)
    first = Returning(
        one_shot(model, [role for role, one in model.matrices.items() if one.compressed_by_default], text)
    )
    list(first)
    second = Returning(with_gradients(model, first.value, first.value if roles is None else roles, text))
    list(second)
    return second.value


def plain_loss(name: str, module: Any, ids: Tensor) -> Tensor:
    """As the model learned, written down once more; token by token."""
    if name == "t5":
        return module(input_ids=ids, labels=ids).loss
    if name == "classifier":
        logits = module(input_ids=ids).logits
        return -logits.log_softmax(-1)[0].max()
    if name == "encoder":
        hidden = module(input_ids=ids).last_hidden_state
        return (hidden * torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))).sum() / ids.shape[1]
    logits = module(input_ids=ids).logits[0]
    if name == "bert":
        return cross_entropy(logits[[3, 10]], ids[0, [3, 10]])
    return module(input_ids=ids, labels=ids).loss


def rows_by_hand(name: str, model: Model) -> dict[str, Tensor]:
    """Module → Σ over sequences of every row's squared gradients, float64, on a model of its own."""
    own: Any = type(model.module)(model.config)
    own.load_state_dict(model.module.state_dict(), strict=False)
    own.eval()
    sums: dict[str, Tensor] = {}
    for ids in read().ids.split(1):
        own.zero_grad()
        plain_loss(name, own, ids).backward()
        for path, one in own.named_modules():
            if isinstance(one, nn.Linear | Conv1D) and one.weight.grad is not None:
                grad = one.weight.grad.double()
                rows = (grad.T if isinstance(one, Conv1D) else grad).square().sum(1)
                sums[path] = sums.get(path, torch.zeros(len(rows))) + rows
    return sums


@pytest.mark.parametrize("name", [*FAMILIES, *HEADS])
def test_the_gradients_are_those_of_the_models_own_loss(name: str, folder: Path) -> None:
    model = load(folder / name)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    found, expected = known(model), rows_by_hand(name, model)
    assert found
    for role, one in found.items():
        matrix = model.matrices[role]
        mine, whole = one.fisher, expected[matrix.module]
        theirs = whole.view(matrix.parts, -1)[matrix.part] if matrix.parts > 1 else whole
        assert mine is not None, role
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-3, atol=1e-6 * float(theirs.max()))
    assert all(torch.equal(before[key], value) for key, value in model.module.state_dict().items())
    assert not any(one.requires_grad or one.grad is not None for one in model.module.parameters())


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_packed_folder_that_adds_a_bias_has_the_gradients_of_ordinary_modules(
    name: str, folder: Path, tmp_path: Path
) -> None:
    setting = apply(load(folder / name), "flap-neurons:0.5", calibration=read())
    write_packed(tmp_path / "packed", setting.model, setting.forms, setting.storage)
    model, own = load(tmp_path / "packed"), copy.deepcopy(setting.model.module)
    plain = replace(setting.model, module=own, sha256="with a bias", known={}, _bases={})
    for role, form in setting.forms.items():
        one: Any = own.get_submodule(plain.matrices[role].module)
        one.weight.copy_(form.dense().T if isinstance(one, Conv1D) else form.dense())
        more = form(torch.zeros(1, form.shape[1]))[0]
        if more.any():
            one.bias = nn.Parameter(more if one.bias is None else one.bias + more, requires_grad=False)
    mine, theirs = known(model), known(plain)
    for role, found in theirs.items():
        assert found.fisher is not None
        torch.testing.assert_close(mine[role].fisher, found.fisher, rtol=1e-3, atol=1e-6 * float(found.fisher.max()))
    with torch.inference_mode():
        apply(model, "fisher-svd:0.5", calibration=read(seed=1))


def test_gathered_once_for_every_rule_and_anew_for_another_text(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes, whole = load(folder / "llama"), list[int](), gradients.loss
    monkeypatch.setattr(gradients, "loss", lambda *given: (passes.append(1), whole(*given))[1])
    some = known(model, ["layers.1.mlp.down"])
    assert {role for role, one in some.items() if one.fisher is not None} == {"layers.1.mlp.down"}
    assert len(passes) == len(read().ids)
    every = known(model)
    assert len(passes) == len(read().ids)
    other = known(model, seed=1)
    assert len(passes) == 2 * len(read().ids)
    first, second = every["layers.1.mlp.down"].fisher, other["layers.1.mlp.down"].fisher
    assert first is not None
    assert second is not None
    assert not torch.equal(first, second)


def test_nothing_is_learned_where_nothing_asks_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "loss", lambda *_: pytest.fail("a backward pass"))
    apply(load(folder / "llama"), "wanda:0.5 + gptq:4g16", calibration=read())


def test_a_recipe_gathers_them_with_progress_also_where_gradients_are_off(folder: Path) -> None:
    told = list[str]()
    with torch.inference_mode():
        apply(load(folder / "llama"), "fisher-svd:0.5", calibration=read(), progress=lambda _, what: told.append(what))
    assert [one for one in told if "Gradients" in one] == [
        f"Gradients of the calibration text: {index} of 6 sequences" for index in range(6)
    ]


def test_behind_compressed_blocks_there_are_none(folder: Path) -> None:
    with pytest.raises(ReparamError, match=r"fisher-svd needs gradients.* Write fisher-svd:0\.5\."):
        apply(load(folder / "llama"), "fisher-svd:0.5@sequential", calibration=read())


def test_a_pretraining_head_has_a_loss_too(own_store: None) -> None:
    """It calls its logits otherwise."""
    model = load("embedded-encoder-pretrained")
    ids = torch.tensor([model.encode("The film is quiet, and then it is not.")])
    assert 0 < float(gradients.loss(model, model.module, ids)) < 20
