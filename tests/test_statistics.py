"""Statistics of inputs are those of the inputs: against hooks of the tests' own, also behind what is compressed already."""

from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reparam_core import load, statistics
from reparam_core.apply import Returning
from reparam_core.models import Model
from reparam_core.models.model import structural_clone
from reparam_core.parametrizations import Dense, LowRank, Parametrization, Statistics, Sum
from reparam_core.roles import layer_of
from reparam_core.statistics import Gathering, Walk, _digest, one_shot
from reparam_core.store import store
from tests.tiny import FAMILIES, read, saved

pytestmark = pytest.mark.usefixtures("own_store")
EVERY = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models"), *FAMILIES)


@pytest.fixture
def model(folder: Path, name: str) -> Model:
    return load(folder / name)


def gathered(work: Gathering | Generator[None, None, dict[str, Statistics]]) -> dict[str, Statistics]:
    """What comes of it once it is done."""
    steps = Returning(work)
    for _ in steps:
        pass
    return steps.value


def answer(module: nn.Module, ids: Tensor) -> Tensor:
    whole: Any = module
    extra = {"decoder_input_ids": shifted(ids)} if whole.config.is_encoder_decoder else {}
    with torch.no_grad():
        logits: Tensor = whole(input_ids=ids, **extra).logits
    return logits


def shifted(ids: Tensor) -> Tensor:
    """As T5 is fed while it learns: its start token, then all but the last."""
    return torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], 1)


def captured(module: nn.Module, paths: Iterable[str], ids: Tensor) -> dict[str, Tensor]:
    """The input rows of these modules in one pass over all sequences at once, float64."""
    rows: dict[str, Tensor] = {}
    hooks = [module.get_submodule(path).register_forward_hook(
        lambda _module, given, _answer, path=path: rows.update({path: given[0].flatten(0, -2).double()}))
        for path in paths]  # fmt: skip
    answer(module, ids)
    for hook in hooks:
        hook.remove()
    return rows


def agrees(found: Statistics, rows: Tensor) -> None:
    gram = rows.T @ rows
    assert found.count == len(rows)
    torch.testing.assert_close(found.gram.double(), gram, rtol=1e-4, atol=1e-4 * float(gram.abs().max()))
    peak = rows.abs().amax(0)
    torch.testing.assert_close(found.peak.double(), peak, rtol=1e-4, atol=1e-4 * float(peak.max()))
    torch.testing.assert_close(found.norms.double(), rows.norm(dim=0), rtol=1e-3, atol=1e-4 * float(rows.norm()))
    torch.testing.assert_close(found.mean.double(), rows.mean(0), rtol=1e-4, atol=1e-4 * float(peak.max()))
    torch.testing.assert_close(
        found.variance.double(), rows.var(0, correction=0), rtol=1e-3, atol=1e-4 * float(peak.max()) ** 2
    )


def of_blocks(model: Model) -> dict[str, str]:
    """role → module of every matrix of the blocks."""
    return {role: one.module for role, one in model.matrices.items() if one.compressed_by_default}


@EVERY
def test_one_pass_over_the_base_sees_what_the_matrices_are_multiplied_with(name: str, model: Model) -> None:
    places = {role: one.module for role, one in model.matrices.items() if one.kind == "linear"}
    found, rows = gathered(one_shot(model, places, read())), captured(model.module, places.values(), read().ids)
    assert set(found) == set(places)
    for role, path in places.items():
        agrees(found[role], rows[path])


@EVERY
def test_matrices_that_read_one_input_share_what_is_known_of_it(name: str, model: Model) -> None:
    found = gathered(one_shot(model, of_blocks(model), read()))
    groups: dict[int, set[str]] = {}
    for role, one in found.items():
        groups.setdefault(id(one), set()).add(role)
    roles = set(model.matrices)
    expected = {frozenset(roles & {f"{layer_of(role)}.{part}" for part in parts}) for role in found for parts in (
        ("attention.q", "attention.k", "attention.v"), ("mlp.up", "mlp.gate"),
        ("attention.o",), ("mlp.down",), ("cross.q",), ("cross.o",))}  # fmt: skip
    expected |= {frozenset(role for role in roles if role.endswith(("cross.k", "cross.v")))}  # the encoder's answer
    assert {frozenset(group) for group in groups.values()} == {group for group in expected if group}
    assert len({one.digest for one in found.values()}) == len(groups)


def test_the_second_time_nothing_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the few tokens that say who shares an input; another text is another question."""
    model, seen = load(folder / "llama"), list[int]()
    with_hook = model.module.register_forward_pre_hook(
        lambda _module, _given, named: seen.append(named["input_ids"].numel()), with_kwargs=True
    )
    first = gathered(one_shot(model, of_blocks(model), read()))
    assert seen[1:] == [4 * 12, 2 * 12]
    seen.clear()
    again = gathered(one_shot(model, of_blocks(model), read()))
    assert len(seen) == 1
    assert seen[0] <= 16
    some = gathered(one_shot(model, ["layers.1.mlp.down"], read()))
    assert len(seen) == 2
    gathered(one_shot(model, ["layers.1.mlp.down"], read(seed=1)))
    with_hook.remove()
    assert len(seen) == 5
    for role, one in first.items():
        assert torch.equal(one.gram, again[role].gram)
        assert torch.equal(one.mean, again[role].mean)
        assert torch.equal(one.peak, again[role].peak)
        assert (one.count, one.digest) == (again[role].count, again[role].digest)
    assert torch.equal(some["layers.1.mlp.down"].gram, first["layers.1.mlp.down"].gram)


def test_progress_of_a_pass_rises(folder: Path) -> None:
    model = load(folder / "llama")
    told = list(one_shot(model, of_blocks(model), read(9)))
    assert [share for share, _ in told] == pytest.approx([0, 4 / 9, 8 / 9])
    assert told[1][1] == "Reading the calibration text: 4 of 9 sequences"


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_shared_base_is_read_by_others_meanwhile(name: str, model: Model) -> None:
    """A pass over calibration text pauses: who reads with the base then is neither stopped nor counted."""
    places = of_blocks(model)
    expected, rows = answer(model.module, read().ids), captured(model.module, list(places.values()), read().ids)
    work = one_shot(model, places, read())
    next(work)
    next(work)
    assert torch.equal(answer(model.module, read().ids), expected)
    found = gathered(work)
    for role, path in places.items():
        agrees(found[role], rows[path])


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_what_is_only_looked_up_has_no_inputs(name: str, model: Model) -> None:
    """A tied embedding has: as the head it is multiplied with."""
    found = gathered(one_shot(model, model.matrices, read()))
    tied = any(path.endswith(("lm_head", "decoder")) for path in model.users("embedding"))
    assert ("embedding" in found) == tied
    assert "position" not in found


@EVERY
def test_a_walk_sees_each_block_behind_the_compressed_ones(name: str, model: Model) -> None:
    """Against the whole model run with the blocks before it compressed, all sequences at once."""
    clone, forms, places = structural_clone(model.module), dict[str, Parametrization](), of_blocks(model)
    walk, walked = Walk(model, clone, read()), list[str]()
    for block in filter(None, walk.blocks()):
        mine = [role for role in places if layer_of(role) == block.layer]
        rows = captured(model.clone(forms), [places[role] for role in mine], read().ids)
        found = gathered(walk.statistics(block, mine))
        assert set(found) == set(mine)
        for role in mine:
            agrees(found[role], rows[places[role]])
        made = {role: halved(model.weight(role)) for role in mine}
        model.install(clone, made)
        forms |= made
        walked += mine
    assert sorted(walked) == sorted(places)
    torch.testing.assert_close(answer(clone, read().ids), answer(model.clone(forms), read().ids))


def halved(weight: Tensor) -> Parametrization:
    """Much less than half of a matrix, so that what comes behind it is not what it was."""
    return Dense(weight * (weight.abs() > weight.abs().mean()))


@EVERY
def test_a_walk_with_nothing_to_do_changes_no_answer(name: str, model: Model) -> None:
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    expected, clone = answer(model.module, read().ids), structural_clone(model.module)
    layers = [block.layer for block in Walk(model, clone, read()).blocks() if block]
    assert layers == list(dict.fromkeys(layer_of(role) for role in of_blocks(model)))
    assert torch.equal(answer(clone, read().ids), expected)
    assert torch.equal(answer(model.module, read().ids), expected)
    assert all(torch.equal(before[key], value) for key, value in model.module.state_dict().items())
    assert not any(one._forward_pre_hooks for module in (clone, model.module) for one in module.modules())


@pytest.mark.parametrize("name", ["llama"])
def test_inputs_behind_compressed_blocks_are_no_other_settings(name: str, model: Model) -> None:
    """The same block of two walks: what is prepared from one is never taken for the other."""
    digests, fleeting = list[str](), list[bool]()
    walks = [Walk(model, structural_clone(model.module), read()) for _ in range(2)]
    for walk in walks:
        block = next(one for one in walk.blocks() if one)
        (one,) = gathered(walk.statistics(block, ["layers.0.mlp.down"])).values()
        digests.append(one.digest)
        fleeting.append(one.fleeting)
    assert all(fleeting)
    assert len(set(digests)) == 2
    assert not any(one.fleeting for one in gathered(one_shot(model, of_blocks(model), read())).values())


def inputs(width: int = 9) -> tuple[Tensor, Statistics]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, width, generator=generator) @ torch.randn(width, width, generator=generator)
    return x, Statistics(50, x.T @ x, x.mean(0), x.abs().amax(0), "x")


def test_a_left_factor_sees_what_the_right_one_makes_of_the_inputs() -> None:
    x, known = inputs()
    factor = torch.randn(4, 9, generator=torch.Generator().manual_seed(1))
    found, y = known.through(factor), x @ factor.T
    torch.testing.assert_close(found.gram, y.T @ y, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(found.mean, y.mean(0), rtol=1e-4, atol=1e-4)
    assert found.count == 50
    assert (found.peak >= y.abs().amax(0)).all()
    assert found.digest not in (known.digest, known.through(2 * factor).digest)
    assert found.digest == known.through(factor.T.contiguous().T).digest
    assert not found.fleeting
    assert replace(known, fleeting=True).through(factor).fleeting


def test_some_columns_are_known_as_if_they_were_all() -> None:
    x, known = inputs()
    places = torch.tensor([1, 4, 7])
    found, left = known.sliced(None, places), x[:, [1, 4, 7]]
    torch.testing.assert_close(found.gram, left.T @ left)
    torch.testing.assert_close(found.mean, left.mean(0))
    torch.testing.assert_close(found.variance, left.var(0, correction=0))
    torch.testing.assert_close(found.peak, left.abs().amax(0))


def test_what_never_moves_has_no_variance_and_what_nobody_read_none_below_zero() -> None:
    x = torch.full((1000, 3), 7.3) * torch.tensor([1, 0, -100])
    known = Statistics(1000, x.T @ x, x.mean(0), x.abs().amax(0), "still")
    assert (known.variance <= 1e-5 * x[0].square()).all()
    nothing = Statistics(0, torch.zeros(3, 3), torch.zeros(3), torch.zeros(3), "nothing")
    assert not nothing.variance.any()


def test_statistics_of_which_less_was_kept_are_gathered_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of an input is part of its key."""
    model, seen = load(folder / "llama"), list[float]()
    with monkeypatch.context() as earlier:
        earlier.setattr(statistics, "KEPT", ("count", "gram", "peak"))
        old = _digest(model, "model.layers.0.mlp.down_proj", read())
    store().save_tensors(old, {"gram": torch.eye(48)})
    work = one_shot(model, ["layers.0.mlp.down"], read())
    found = Returning(work)
    seen += [share for share, _ in found]
    assert seen
    assert set(store().tensors(found.value["layers.0.mlp.down"].digest) or {}) == set(statistics.KEPT)


def test_every_leaf_is_told_of_its_own_inputs() -> None:
    x, known = inputs()
    generator = torch.Generator().manual_seed(2)
    left, right, other = (Dense(torch.randn(shape, generator=generator)) for shape in ((5, 3), (3, 9), (5, 9)))
    form = Sum([LowRank(left, right), other])
    found = {leaf.path: leaf.statistics for leaf in form.leaves(known)}
    assert set(found) == {"0.left", "0.right", "1"}
    assert found["0.right"] is found["1"] is known
    inner = found["0.left"]
    assert inner is not None
    y = x @ right.weight.T
    torch.testing.assert_close(inner.gram, y.T @ y, rtol=1e-4, atol=1e-2)
    assert all(leaf.statistics is None for leaf in form.leaves())
