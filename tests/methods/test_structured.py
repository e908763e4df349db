"""Whole heads, neurons and layers: what goes is exactly what zeros there would answer, and the file is that much smaller."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reparam_core import ReparamError, apply, base, load
from reparam_core.methods.base import Method
from reparam_core.methods.settings import SparsitySetting
from reparam_core.models import Model, write_packed
from reparam_core.parametrizations import Dense, LowRank, Parametrization, Quantized, Sliced, Sparse
from reparam_core.registry import methods
from tests.methods.leaves import inputs, leaf, matrix
from tests.models.test_architectures import CASES
from tests.tiny import answered, read

pytestmark = pytest.mark.usefixtures("own_store")

SHRINKING = [name for name, kind in methods().items() if kind.shrinks]
EVERY = pytest.mark.parametrize("architecture", CASES)
OF_EVERY_METHOD = pytest.mark.parametrize("name", SHRINKING)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    for name, (kind, config) in CASES.items():
        torch.manual_seed(0)
        model = kind(config)
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases that a fresh model has as zeros
                parameter.data += 0.1 * torch.randn_like(parameter)
        model.half().save_pretrained(place / name)
    return place


@pytest.fixture
def model(folder: Path, architecture: str) -> Model:
    return load(folder / architecture)


def pruned(model: Model, name: str, fraction: float, **more: Any) -> Any:
    step = {"method": name, "fraction": fraction}
    return apply(model, {"rules": [{"sparsity": step, **more}]}, calibration=read())


def plain(model: Model, forms: dict[str, Parametrization]) -> torch.Tensor:
    """What the untouched architecture answers with the dense matrices of those forms."""
    return answered(model.clone({role: Dense(form.dense()) for role, form in forms.items()}))


@EVERY
@OF_EVERY_METHOD
def test_the_smaller_matrices_answer_as_the_dense_ones_with_zeros(architecture: str, name: str, model: Model) -> None:
    setting = pruned(model, name, 0.5)
    torch.testing.assert_close(answered(setting.module), plain(model, setting.forms), rtol=1e-4, atol=1e-4)
    assert not torch.equal(answered(setting.module), answered(model.module))
    cut = [form for form in setting.forms.values() if isinstance(form, Sliced)]
    assert cut
    assert all(form.operations == form.parameters_kept == form.inner.dense().numel() for form in cut)
    assert all("smaller matrix" in form.kernel or form.kernel.startswith("no product") for form in cut)


@EVERY
@pytest.mark.parametrize("name", ["heads", "neurons"])
def test_a_unit_is_gone_once_nothing_reads_it(architecture: str, name: str, model: Model) -> None:
    """Whatever the biases of what leads into it: columns of o or down that are zero are enough for the same answers."""
    setting = pruned(model, name, 0.5)
    leading_out = {role: form for role, form in setting.forms.items() if role.endswith((".o", ".down"))}
    torch.testing.assert_close(answered(setting.module), plain(model, leading_out), rtol=1e-4, atol=1e-4)


@EVERY
def test_heads_go_with_their_group(architecture: str, model: Model) -> None:
    setting = pruned(model, "heads", 0.5)
    for role in (one for one in setting.forms if one.endswith(".k")):
        stem, width = role.removesuffix(".k"), model.head_width(role)
        q, k, v, o = (setting.forms[f"{stem}.{one}"] for one in "qkvo")
        shared = q.shape[0] // k.shape[0]
        groups = k.rows.view(-1, width)[:, 0] // width
        assert width == 8
        assert len(groups) == -(-k.shape[0] // width // 2)
        assert torch.equal(k.rows, v.rows)
        expected = torch.cat([torch.arange(width * shared) + group * width * shared for group in groups])
        assert torch.equal(q.rows, expected)
        assert torch.equal(o.columns, expected)
        weights = {one: model.weight(f"{stem}.{one}") for one in "qkvo"}
        norms = [
            sum(weights[one][g * width * n : (g + 1) * width * n].square().sum() for one, n in zip("qkv", (shared, 1, 1), strict=True))
            + weights["o"][:, g * width * shared : (g + 1) * width * shared].square().sum()
            for g in range(k.shape[0] // width)
        ]  # fmt: skip
        left = sorted(sorted(range(len(norms)), key=lambda g: float(norms[g]))[len(norms) // 2 :])
        assert groups.tolist() == left


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("unit", ["heads", "neurons"])
def test_what_stays_makes_up_for_what_went_as_well_as_can_be(unit: str, seed: int) -> None:
    """Scores and weights of the matrix that leads out against least squares on the inputs themselves."""
    weight, x = matrix((7, 12), seed), inputs(12, seed=seed)
    stem, out, others, width = {"heads": ("attention", "o", "qkv", 3), "neurons": ("mlp", "down", ("up",), 1)}[unit]
    block = {f"layers.0.{stem}.{out}": leaf(weight, x, head=width)}
    block |= {f"layers.0.{stem}.{one}": leaf(matrix((12, 5), 9), head=width) for one in others}
    method = methods()[f"obs-{unit}"](damping=1e-9)
    prepared = method.prepare(block)
    form = method.at(prepared, block, SparsitySetting(fraction=0.5))[f"layers.0.{stem}.{out}"]
    assert isinstance(form, Sliced)
    seen, wanted = x.double(), x.double() @ weight.double().T

    def solved(columns: torch.Tensor) -> torch.Tensor:
        return torch.linalg.lstsq(seen[:, columns], wanted).solution

    torch.testing.assert_close(form.inner.dense().double(), solved(form.columns).T, rtol=1e-3, atol=1e-4)
    every, lost = torch.arange(12), []
    for gone in every.view(-1, width):
        rest = every[~torch.isin(every, gone)]
        lost.append(float((seen[:, rest] @ solved(rest) - wanted).norm()) / len(x) ** 0.5)
    found = prepared[f"layers.0.{stem}/scores"].double()
    torch.testing.assert_close(found, torch.tensor(lost, dtype=torch.float64), rtol=1e-2, atol=1e-3)
    left = found.argsort()[len(lost) // 2 :].sort().values
    assert torch.equal(form.columns, every.view(-1, width)[left].reshape(-1))


@EVERY
def test_neurons_of_the_least_norm_go(architecture: str, model: Model) -> None:
    setting = pruned(model, "neurons", 0.3)
    for role, form in setting.forms.items():
        if not role.endswith(".down"):
            continue
        stem = role.removesuffix(".down")
        into = [one for one in (f"{stem}.up", f"{stem}.gate") if one in model.matrices]
        norms = sum(model.weight(one).square().sum(1) for one in into) + model.weight(role).square().sum(0)
        left = norms.argsort()[int(0.3 * len(norms)) :].sort().values
        assert torch.equal(form.columns, left)
        assert all(torch.equal(setting.forms[one].rows, left) for one in into)
        assert torch.equal(form.inner.dense(), model.weight(role)[:, left])


@EVERY
def test_a_layer_that_is_gone_has_no_numbers(architecture: str, model: Model) -> None:
    setting = pruned(model, "layers", 0.5)
    gone = {role for role, form in setting.forms.items() if not form.parameters_kept}
    stems = {role.rpartition("layers.")[0] + role.split("layers.")[1][0] for role in gone}
    assert len(stems) == (2 if architecture == "t5" else 1)
    assert sum(setting.forms[role].nbytes for role in gone) == 0
    assert all(not setting.forms[role].dense().any() for role in gone)


@pytest.mark.parametrize("architecture", ["llama", "gemma", "qwen2"])
def test_before_its_norm_a_layer_that_is_gone_is_the_identity(architecture: str, model: Model) -> None:
    setting = pruned(model, "layers", 0.5)
    number = next(int(role.split(".")[1]) for role, form in setting.forms.items() if not form.parameters_kept)
    shorter: Any = copy.deepcopy(model.module)
    del shorter.model.layers[number]
    shorter.config.use_cache = False  # layers know by number where theirs is
    torch.testing.assert_close(answered(setting.module), answered(shorter), rtol=1e-4, atol=1e-4)


@EVERY
@OF_EVERY_METHOD
def test_the_packed_folder_has_the_foretold_size_and_the_same_answers(
    architecture: str, name: str, model: Model, tmp_path: Path
) -> None:
    setting = pruned(model, name, 0.5)
    file = write_packed(tmp_path / "packed", model, setting.forms, setting.storage)
    again = load(tmp_path / "packed")
    assert file.stat().st_size == setting.bytes == base(again).bytes < base(model).bytes
    torch.testing.assert_close(answered(again.module), answered(setting.module), rtol=1e-3, atol=1e-4)
    further = apply(again, "rtn:8")
    assert further.bytes < setting.bytes
    assert [role for role, form in further.forms.items() if not form.parameters_kept] == [
        role for role, form in setting.forms.items() if not form.parameters_kept
    ]


@EVERY
@OF_EVERY_METHOD
def test_none_removed_is_the_identity_and_more_is_never_larger(architecture: str, name: str, model: Model) -> None:
    untouched = pruned(model, name, 0)
    assert torch.equal(
        plain(model, untouched.forms), plain(model, {role: model.form(role) for role in untouched.forms})
    )
    assert untouched.bytes == base(model).bytes
    sizes = [pruned(model, name, fraction).bytes for fraction in (0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bert", "t5"])
@pytest.mark.parametrize("name", ["heads", "neurons"])
def test_rank_and_bits_meet_what_is_left(architecture: str, name: str, model: Model) -> None:
    rank, bits = {"method": "svd", "keep": 0.5}, {"method": "gptq", "bits": 4}
    setting = pruned(model, name, 0.5, rank=rank, bits=bits)
    for role, form in setting.forms.items():
        parts = [type(one) for one in form.modules() if isinstance(one, Parametrization)]
        if methods()[name]().block(role) is None:
            assert parts == [LowRank, Quantized, Quantized]
        else:
            assert parts == [Sliced, LowRank, Quantized, Quantized]
            small = pruned(model, name, 0.5).forms[role].inner.shape
            assert form.inner.rank == min(small) // 2
            assert form.inner.shape == small
    torch.testing.assert_close(answered(setting.module), plain(model, setting.forms), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_heads_of_some_and_neurons_of_others_in_one_recipe(architecture: str, model: Model) -> None:
    setting = apply(model, {"rules": [
        {"where": "*{attention,cross}.*", "sparsity": {"method": "heads", "fraction": 0.5}},
        {"where": "*layers.0.mlp.*", "sparsity": {"method": "neurons", "fraction": 0.25}}]})  # fmt: skip
    kinds = {role.split(".")[-2] for role, form in setting.forms.items() if isinstance(form, Sliced)}
    assert kinds == {"attention", "mlp"} | ({"cross"} if architecture == "t5" else set())
    assert not [role for role in setting.forms if "layers.1.mlp" in role]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@OF_EVERY_METHOD
def test_what_it_leaves_alone_is_the_bases_own(architecture: str, name: str, model: Model) -> None:
    setting = pruned(model, name, 0.5)
    method: Method = methods()[name]()
    assert set(setting.forms) == {role for role in model.matrices if method.block(role) is not None}


@pytest.mark.parametrize("architecture", ["llama"])
@pytest.mark.parametrize(("name", "where", "told"), [
    ("heads", "layers.1.attention.{q,k,v}", r"only a part of layers\.1\.attention\. Add layers\.1\.attention\.o\."),
    ("neurons", "*.down", r"only a part of layers\.0\.mlp\. Add layers\.0\.mlp\.gate, layers\.0\.mlp\.up, "),
    ("layers", "*.mlp.*", r"only a part of layers\.0\. Add layers\.0\.attention\.q, .* …\."),
    ("heads", "*.mlp.*", "heads:0.5 has nothing to do"), ("neurons", "embedding", "neurons:0.5 has nothing to do")])  # fmt: skip
def test_a_part_of_a_unit_is_refused(architecture: str, name: str, where: str, told: str, model: Model) -> None:
    with pytest.raises(ReparamError, match=told) as caught:
        pruned(model, name, 0.5, where=where)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ["llama"])
@OF_EVERY_METHOD
@pytest.mark.parametrize("setting", [{"pattern": "2:4"}, {"threshold": 0.1}, {"fraction": 0.5, "block": 4}])
def test_there_is_no_pattern_of_whole_units(architecture: str, name: str, setting: Any, model: Model) -> None:
    with pytest.raises(ReparamError, match=f"no pattern, blocks or threshold. Give a fraction, as in {name}:0.25"):
        apply(model, {"rules": [{"sparsity": {"method": name, **setting}}]}, calibration=read())


@pytest.mark.parametrize("architecture", ["llama"])
@OF_EVERY_METHOD
@pytest.mark.parametrize(("before", "told"), [("svd:0.5", "needs whole matrices"), ("rtn:4", "is quantized already"), ("magnitude:0.5", ""),
                                              ("neurons:0.5", ""), ("heads:0.5", ""), ("layers:0.5", "")])  # fmt: skip
def test_on_what_was_compressed_before(
    architecture: str, name: str, before: str, told: str, model: Model, tmp_path: Path
) -> None:
    """Zeros stay zero, a smaller matrix becomes smaller still; factors and codes are refused."""
    first = apply(model, before)
    write_packed(tmp_path / "packed", model, first.forms, first.storage)
    again = load(tmp_path / "packed")
    if told:
        with pytest.raises(ReparamError, match=told):
            pruned(again, name, 0.5)
        return
    setting = pruned(again, name, 0.5)
    for role, form in setting.forms.items():
        assert not form.dense()[again.form(role).dense() == 0].any()
        assert [part for part in form.modules() if isinstance(part, Sparse)] or before != "magnitude:0.5"
    torch.testing.assert_close(answered(setting.module), plain(again, setting.forms), rtol=1e-3, atol=1e-4)
    file = write_packed(tmp_path / "twice", again, setting.forms, setting.storage)
    assert file.stat().st_size == setting.bytes <= first.bytes
    json.loads((tmp_path / "twice" / "parametrizations.json").read_text(encoding="utf-8"))
