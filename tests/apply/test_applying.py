"""A recipe makes a Setting: its steps in order, the last rule decides, and the base is shared and left as it was."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reparam_core import ReparamError, apply, base, load
from reparam_core.apply import CancelledError, applying, prepare, single_threaded, units
from reparam_core.methods.base import Unit
from reparam_core.models import Model, write_packed
from reparam_core.parametrizations import Dense, LowRank, Quantized, Sparse
from reparam_core.recipes import Recipe
from reparam_core.registry import AXES, methods
from reparam_core.roles import layer_of
from tests.methods.leaves import width
from tests.tiny import answered, read, saved

pytestmark = pytest.mark.usefixtures("own_store")

SETTINGS: dict[str, dict[str, Any]] = {"rank": {"keep": 0.5}, "sparsity": {"fraction": 0.5}, "bits": {"bits": 4}}
ALL = {
    axis: {"method": name} | SETTINGS[axis]
    for axis, name in (("rank", "svd"), ("sparsity", "magnitude"), ("bits", "rtn"))
}
NAMES = ["llama", "gpt2", "t5"]
SCOPES: tuple[Unit, ...] = ("matrix", "layer", "model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models"), *NAMES)


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, folder: Path) -> Model:
    return load(folder / request.param)


@pytest.fixture
def llama(folder: Path) -> Model:
    return load(folder / "llama")


def rules(*given: dict[str, Any], **more: Any) -> str:
    return json.dumps({"rules": list(given), **more})


@pytest.mark.parametrize("name", methods())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_method_writes_to_the_base(name: str, dtype: torch.dtype, model: Model) -> None:
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    expected = answered(model.module_in(dtype)).clone()
    kind = methods()[name]
    own = {"bits": width(name, 4)} if kind.axis == "bits" else SETTINGS[kind.axis]
    rule = {kind.axis: {"method": name} | own} | ({} if kind.needs else {"where": "*"})
    setting = apply(model, rules(rule), dtype=dtype, calibration=read())
    covered = {role for role, one in model.matrices.items() if one.compressed_by_default or not kind.needs}
    assert set(setting.forms) == {role for role in covered if kind().block(role) is not None}
    assert not torch.equal(answered(setting.module), expected)
    assert all(torch.equal(before[key], value) for key, value in model.module.state_dict().items())
    assert torch.equal(answered(model.module_in(dtype)), expected)


def test_what_is_not_named_is_the_bases_own_memory(llama: Model) -> None:
    setting = apply(llama, rules({"where": "layers.0.mlp.up", "bits": ALL["bits"]}))
    own = {name: one.data_ptr() for name, one in setting.module.named_parameters()}
    theirs = {name: one.data_ptr() for name, one in llama.module.named_parameters()}
    assert set(theirs) - set(own) == {"model.layers.0.mlp.up_proj.weight"}
    assert all(theirs[name] == pointer for name, pointer in own.items())
    assert list(setting.forms) == ["layers.0.mlp.up"]


@pytest.mark.parametrize(
    "recipe", ["base", rules(), rules({"rank": None}), rules({"bits": ALL["bits"]}, {"bits": None})]
)
def test_an_omitted_step_is_exactly_the_identity(recipe: str, model: Model) -> None:
    setting = apply(model, recipe)
    assert setting.module is model.module
    assert setting.forms == {}
    assert setting.bytes == base(model).bytes


def test_rank_then_sparsity_then_bits(model: Model) -> None:
    """Written in any order: factors first, then zeros in both, then codes of what is kept."""
    setting = apply(model, rules({axis: ALL[axis] for axis in reversed(AXES)}))
    for role, form in setting.forms.items():
        assert isinstance(form, LowRank)
        for factor in (form.left, form.right):
            assert isinstance(factor, Sparse)
            assert isinstance(factor.values, Quantized)
            assert factor.kept == factor.mask.numel() - factor.mask.numel() // 2
        svd = apply(model, rules({"where": role, "rank": ALL["rank"]})).forms[role]
        assert isinstance(svd, LowRank)
        assert form.rank == svd.rank == min(form.shape) // 2


def test_each_step_works_on_what_the_one_before_left(llama: Model) -> None:
    """The same three methods by hand, on one matrix, in float32: rounding to the file's floats comes last."""
    role = "layers.1.attention.o"
    w = llama.weight(role)
    u, s, v = torch.linalg.svd(w)
    r, expected = min(w.shape) // 2, []
    for factor in (u[:, :r] * s[:r].sqrt(), s[:r].sqrt()[:, None] * v[:r]):
        order = factor.abs().reshape(-1).argsort(stable=True)
        factor = factor.clone(memory_format=torch.contiguous_format)
        factor.view(-1)[order[: factor.numel() // 2]] = 0
        low, high = factor.amin(1, keepdim=True).clamp(max=0), factor.amax(1, keepdim=True).clamp(min=0)
        scale = ((high - low) / 15).half().float()
        zero = (-low / scale).round()
        expected.append((((factor / scale).round() + zero).clamp(0, 15) - zero) * scale)
    made = apply(llama, rules({"where": role, **ALL})).forms[role].dense()
    torch.testing.assert_close(made, expected[0] @ expected[1], rtol=1e-3, atol=1e-5)


def test_the_last_rule_that_names_a_step_decides(llama: Model) -> None:
    setting = apply(llama, rules(
        {"bits": {"method": "rtn", "bits": 8}, "rank": ALL["rank"]},
        {"where": "layers.{1..9}.*", "bits": {"method": "rtn", "bits": 3}},
        {"where": "*.attention.{q,k}", "bits": None},
        {"where": "*mlp*", "rank": None},
        {"where": "embedding", "bits": {"method": "rtn", "bits": 6}},
    ))  # fmt: skip
    bits = {
        role: {one.bits for one in form.modules() if isinstance(one, Quantized)} for role, form in setting.forms.items()
    }
    assert bits["layers.0.attention.v"] == {8}
    assert bits["layers.1.attention.v"] == {3}
    assert bits["layers.0.attention.q"] == bits["layers.1.attention.k"] == set()
    assert isinstance(setting.forms["layers.0.attention.q"], LowRank)
    assert isinstance(setting.forms["layers.1.mlp.up"], Quantized)
    assert bits["embedding"] == {6}


def test_a_tied_matrix_is_one(llama: Model) -> None:
    """One form, looked up and multiplied by; its bytes counted once."""
    assert "head" not in llama.matrices
    setting = apply(llama, rules({"where": "embedding", "bits": ALL["bits"]}))
    form = setting.forms["embedding"]
    module: Any = setting.module
    assert module.model.embed_tokens.form is module.lm_head.form is form
    assert base(llama).bytes - setting.bytes == pytest.approx(
        2 * llama.matrices["embedding"].parameters - form.nbytes, abs=300
    )
    untied: Any = copy.deepcopy(llama.module)
    untied.lm_head.weight = torch.nn.Parameter(form.dense())
    untied.model.embed_tokens.weight = torch.nn.Parameter(form.dense())
    torch.testing.assert_close(answered(setting.module), answered(untied), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "recipe", ["svd:0.5", "magnitude:0.5", "rtn:4g16", "rtn:3t + magnitude:0.2", "svd:0.9 + rtn:8"]
)
def test_the_module_computes_with_the_forms_that_are_stored(recipe: str, model: Model) -> None:
    """Each form's dense matrix put into a plain copy of the model gives the same answers."""
    setting = apply(model, recipe)
    plain = model.clone({role: Dense(form.dense()) for role, form in setting.forms.items()})
    scale = float(answered(plain).abs().max())
    torch.testing.assert_close(answered(setting.module), answered(plain), rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("storage", ["bfloat16", "float32"])
def test_another_storage_rounds_every_float(storage: str, model: Model) -> None:
    setting = apply(model, rules({"rank": ALL["rank"]}, storage=storage))
    kept = getattr(torch, storage)
    for tensor in [
        *setting.module.parameters(),
        *(form.dense() for form in setting.forms.values() if isinstance(form, Dense)),
    ]:
        assert torch.equal(tensor, tensor.to(kept).float())
    assert setting.storage == kept
    assert all(torch.equal(one, one.half().float()) for one in model.module.parameters())


def test_whoever_cancels_gets_nothing(llama: Model) -> None:
    asked: list[str] = []
    with pytest.raises(CancelledError):
        apply(llama, "rtn:4", progress=lambda share, role: asked.append(role), cancelled=lambda: len(asked) == 1)
    assert len(asked) == 1


@pytest.mark.parametrize(("recipe", "places"), [("hqq:4", 14), ("rtn:4", 2)])
def test_progress_rises_over_every_matrix_that_takes_long_and_else_over_layers(
    recipe: str, places: int, llama: Model
) -> None:
    told: list[tuple[float, str]] = []
    setting = apply(llama, recipe, progress=lambda share, what: told.append((share, what)))
    roles = list(setting.forms)
    assert [what for _, what in told] == [f"Rewriting {role}" for role in roles[:: len(roles) // places]]
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert told[0][0] == 0
    assert told[-1][0] < 1


@pytest.mark.parametrize("recipe", ["heads:0.5 + hqq:4g16", "layers:0.5 + hqq:4g16", rules({
    "sparsity": {"method": "magnitude", "fraction": 0.5, "scope": "model"}, "bits": {"method": "hqq", "bits": 4}})])  # fmt: skip
def test_what_a_wider_step_leaves_is_told_matrix_by_matrix(recipe: str, llama: Model) -> None:
    """A place to pause before each, in the order of the blocks where no step looks at the whole model."""
    told: list[tuple[float, str]] = []
    setting = apply(llama, recipe, progress=lambda share, what: told.append((share, what)))
    assert {f"Rewriting {role}" for role in setting.forms} <= {what for _, what in told}
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_what_was_prepared_is_found_again(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    first = apply(llama, "svd:0.5")
    monkeypatch.setattr(methods()["svd"], "prepare", lambda *_: pytest.fail("prepared twice"))
    again = apply(llama, "svd:0.25")
    assert first.seconds["prepare"] > 0 == again.seconds["prepare"]
    assert {form.rank for form in again.forms.values() if isinstance(form, LowRank)} == {4, 8}


def test_preparing_beforehand_prepares_all_that_is_asked(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, str]] = []
    prepare(llama, Recipe.parse("svd:0.5 + rtn:4"), progress=lambda share, what: told.append((share, what)))
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert all(what.startswith("Preparing ") for _, what in told)
    monkeypatch.setattr(methods()["svd"], "prepare", lambda *_: pytest.fail("prepared twice"))
    assert apply(llama, "svd:0.5").seconds["prepare"] == 0
    prepare(llama, Recipe.parse("svd:0.7"), progress=lambda *_: pytest.fail("nothing is missing"))


def test_what_is_paused_can_be_dropped(llama: Model) -> None:
    threads = torch.get_num_threads()
    work = applying(llama, "svd:0.5")
    assert next(work)[1].startswith("Preparing ")
    next(work)
    work.close()
    assert torch.get_num_threads() == threads
    assert apply(llama, "svd:0.5").forms


def test_threads_are_restored_whoever_leaves_last() -> None:
    before = torch.get_num_threads()
    first, second = single_threaded(), single_threaded()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.get_num_threads() == 1
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == before


def test_a_scope_spreads_one_fraction_over_its_unit(llama: Model) -> None:
    pruned = {scope: apply(llama, rules({"sparsity": {"method": "magnitude", "fraction": 0.5, "scope": scope}}))
              for scope in SCOPES}  # fmt: skip
    for scope, setting in pruned.items():
        kept = {role: form.parameters_kept for role, form in setting.forms.items()}
        whole = {role: one.parameters for role, one in llama.matrices.items() if one.compressed_by_default}
        for roles in units(scope, list(kept)):
            count = sum(whole[role] for role in roles)
            assert sum(kept[role] for role in roles) == count - count // 2
    assert len({setting.module(torch.arange(8)[None]).logits.sum().item() for setting in pruned.values()}) == 3


@pytest.mark.parametrize(
    ("role", "layer"),
    [("layers.3.attention.q", "layers.3"), ("encoder.layers.0.mlp.up", "encoder.layers.0"), ("embedding", "embedding"),
     ("other.layers.rel", "other.layers.rel")],
)  # fmt: skip
def test_a_role_lies_in_a_layer(role: str, layer: str) -> None:
    assert layer_of(role) == layer


def test_what_is_packed_already_can_only_be_compressed_where_something_is_left(llama: Model, tmp_path: Path) -> None:
    made = {}
    for name, recipe in (("bits", "rtn:4"), ("sparse", "magnitude:0.5"), ("thin", "svd:0.5")):
        setting = apply(llama, recipe)
        write_packed(tmp_path / name, llama, setting.forms, setting.storage)
        made[name] = load(tmp_path / name)
        assert base(made[name]).bytes == setting.bytes
    with pytest.raises(ReparamError, match=r"layers\.0\.attention\.k is quantized already: rtn:2"):
        apply(made["bits"], "rtn:2")
    with pytest.raises(ReparamError, match=r"layers\.0\.attention\.q: A pruned matrix cannot become low rank"):
        apply(made["sparse"], "svd:0.5")
    further = apply(made["sparse"], "magnitude:0.75").forms["layers.0.mlp.up"]
    assert further.parameters_kept == further.shape[0] * further.shape[1] // 4
    assert torch.equal(
        further.dense() != 0, further.dense().where(made["sparse"].weight("layers.0.mlp.up") != 0, 0) != 0
    )
    assert {form.form for form in apply(made["thin"], "rtn:4").forms.values()} == {"low_rank"}


@pytest.mark.parametrize("recipe", ["base", "svd:0.5", "magnitude:0.4 + rtn:4g16"])
@pytest.mark.parametrize("storage", ["float16", "bfloat16", "float32"])
def test_a_packed_folder_is_packed_again_in_the_bytes_that_are_told(
    recipe: str, storage: str, llama: Model, tmp_path: Path
) -> None:
    setting = apply(llama, recipe)
    write_packed(tmp_path / "once", llama, setting.forms, setting.storage)
    twice = apply(load(tmp_path / "once"), rules(storage=storage))
    file = write_packed(tmp_path / "twice", twice.model, twice.forms, twice.storage)
    assert file.stat().st_size == twice.bytes
