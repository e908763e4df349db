"""Whole heads, neurons and layers: what goes is exactly what zeros there would answer, and the file is that much smaller."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from reparam_core import ReparamError, apply, base, load
from reparam_core.methods.base import Method
from reparam_core.methods.settings import SparsitySetting
from reparam_core.models import Model, write_packed
from reparam_core.parametrizations import Dense, LowRank, Parametrization, Quantized, Sliced, Sparse
from reparam_core.registry import methods
from tests.methods.leaves import added, inputs, leaf, matrix
from tests.models.test_architectures import CASES
from tests.tiny import answered, read

pytestmark = pytest.mark.usefixtures("own_store")

SHRINKING = [name for name, kind in methods().items() if kind.removes]
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
    """What the untouched architecture answers with the dense matrices of those forms, and with biases where they add one."""
    clone = model.clone({role: Dense(form.dense()) for role, form in forms.items()})
    for role, form in forms.items():
        more, one = added(form), cast(Any, clone.get_submodule(model.matrices[role].module))
        if more.any():
            one.bias = nn.Parameter(more if one.bias is None else one.bias + more, requires_grad=False)
    return answered(clone)


def captured(model: Model, module: nn.Module, roles: list[str]) -> dict[str, list[torch.Tensor]]:
    """The rows (tokens, …) that go into and come out of these matrices over the calibration text."""
    rows: dict[str, list[torch.Tensor]] = {}
    hooks = [module.get_submodule(model.matrices[role].module).register_forward_hook(
        lambda _module, given, answer, role=role: rows.update({role: [given[0].flatten(0, -2), answer.flatten(0, -2)]}))
        for role in roles]  # fmt: skip
    ids = read().ids
    if module.config.is_encoder_decoder:
        start = torch.full_like(ids[:, :1], module.config.decoder_start_token_id)
        module(input_ids=ids, decoder_input_ids=torch.cat([start, ids[:, :-1]], 1))
    else:
        module(input_ids=ids)
    for hook in hooks:
        hook.remove()
    return rows


@EVERY
@OF_EVERY_METHOD
def test_the_smaller_matrices_answer_as_the_dense_ones_with_zeros(architecture: str, name: str, model: Model) -> None:
    setting = pruned(model, name, 0.5)
    torch.testing.assert_close(answered(setting.module), plain(model, setting.forms), rtol=1e-4, atol=1e-4)
    assert not torch.equal(answered(setting.module), answered(model.module))
    cut = [form for form in setting.forms.values() if isinstance(form, Sliced)]
    assert cut
    assert all(form.operations == form.inner.dense().numel() for form in cut)
    biases = [0 if form.bias is None else form.shape[0] for form in cut]
    assert [form.parameters_kept - form.operations for form in cut] == biases
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


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("unit", ["heads", "neurons"])
def test_what_stays_makes_up_for_its_own_zeros_too(unit: str, seed: int) -> None:
    """Where numbers went before: less of the output is lost than by the least squares of whole columns, zeroed there."""
    mask = torch.rand(20, 48, generator=torch.Generator().manual_seed(seed)) < 0.6
    weight, x = matrix((20, 48), seed) * mask, inputs(48, seed=seed)
    stem, out, others, width = {"heads": ("attention", "o", "qkv", 6), "neurons": ("mlp", "down", ("up",), 1)}[unit]
    block = {f"layers.0.{stem}.{out}": leaf(weight, x, mask=mask, head=width)}
    block |= {f"layers.0.{stem}.{one}": leaf(matrix((48, 5), 9), head=width) for one in others}
    method = methods()[f"obs-{unit}"](damping=1e-6)
    form = method.at(method.prepare(block), block, SparsitySetting(fraction=0.5))[f"layers.0.{stem}.{out}"]
    assert isinstance(form, Sliced)
    assert form.columns is not None
    left, seen, wanted = mask[:, form.columns], x.double()[:, form.columns], x.double() @ weight.double().T
    found = form.inner.dense().double()
    assert torch.equal(found != 0, left)
    whole = torch.linalg.lstsq(seen, wanted).solution.T * left
    own = torch.zeros_like(found)
    for i, row in enumerate(left):
        own[i, row] = torch.linalg.lstsq(seen[:, row], wanted[:, i]).solution
    least, lost, naive = (float((seen @ one.T - wanted).square().sum()) for one in (own, found, whole))
    assert least <= lost < 0.75 * naive + 0.25 * least


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("unit", ["heads", "neurons"])
def test_what_moves_least_goes_and_its_mean_stays(unit: str, seed: int) -> None:
    """Scores and the bias against loops over units, channels and rows."""
    weight, x = matrix((7, 12), seed), inputs(12, seed=seed) + torch.linspace(-2, 3, 12)
    stem, out, others, width = {"heads": ("attention", "o", "qkv", 3), "neurons": ("mlp", "down", ("up",), 1)}[unit]
    block = {f"layers.0.{stem}.{out}": leaf(weight, x, head=width)}
    block |= {f"layers.0.{stem}.{one}": leaf(matrix((12, 5), 9), head=width) for one in others}
    method = methods()[f"flap-{unit}"]()
    prepared = method.prepare(block)
    form = method.at(prepared, block, SparsitySetting(fraction=0.5))[f"layers.0.{stem}.{out}"]
    assert isinstance(form, Sliced)
    w, seen, scores = weight.double().tolist(), x.double().tolist(), []
    means = [sum(row[j] for row in seen) / len(seen) for j in range(12)]
    for start in range(0, 12, width):
        score = 0.0
        for j in range(start, start + width):
            variance = sum((row[j] - means[j]) ** 2 for row in seen) / len(seen)
            score += variance * sum(one[j] ** 2 for one in w)
        scores.append(score)
    assert prepared[f"layers.0.{stem}/scores"].tolist() == pytest.approx(scores, rel=1e-4)
    left = sorted(sorted(range(len(scores)), key=lambda u: scores[u])[len(scores) // 2 :])
    kept = [u * width + i for u in left for i in range(width)]
    assert form.columns is not None
    assert form.columns.tolist() == kept
    assert torch.equal(form.inner.dense(), weight[:, kept])
    assert form.bias is not None
    gone = [j for j in range(12) if j not in kept]
    assert form.bias.tolist() == pytest.approx([sum(one[j] * means[j] for j in gone) for one in w], rel=1e-4, abs=1e-5)
    torch.testing.assert_close(form(x).mean(0), (x @ weight.T).mean(0), rtol=1e-3, atol=1e-3)  # on average as before


def weighed(weight: torch.Tensor, rises: list[float]) -> Any:
    """A leaf without whose units, runs of columns, the loss rises by so much."""
    one = leaf(weight, head=3)
    told = torch.tensor(rises).repeat_interleave(weight.shape[1] // len(rises))
    return replace(one, statistics=replace(one.statistics, rises=told))


def test_a_head_goes_where_the_loss_rises_least_or_falls() -> None:
    """Of ties the first."""
    block = {"layers.0.attention.o": weighed(matrix((7, 15)), [0.2, -0.3, 0.1, 0.0, 0.1])}
    block |= {f"layers.0.attention.{one}": leaf(matrix((15, 5), 9), head=3) for one in "qkv"}
    method = methods()["measured-heads"]()
    prepared = method.prepare(block)
    for fraction, kept in ((0.0, 5), (0.2, [0, 2, 3, 4]), (0.4, [0, 2, 4]), (0.6, [0, 4]), (0.999, [0])):
        forms = method.at(prepared, block, SparsitySetting(fraction=fraction))
        if kept == 5:
            assert all(torch.equal(forms[name].dense(), one.weight) for name, one in block.items())
            continue
        places = [3 * unit + place for unit in kept for place in range(3)]
        assert forms["layers.0.attention.o"].columns.tolist() == places
        assert all(forms[f"layers.0.attention.{one}"].rows.tolist() == places for one in "qkv")
        assert torch.equal(forms["layers.0.attention.o"].inner.dense(), block["layers.0.attention.o"].weight[:, places])


def test_a_layer_goes_where_the_loss_rises_least_or_falls() -> None:
    """Each stack loses its own."""
    rises = {"encoder": [0.5, 0.1, 0.2, 0.3], "decoder": [-0.1, 0.0, -0.2, 0.4]}
    leaves = {f"{stack}.layers.{number}.mlp.down": weighed(matrix((7, 12)), [rise])
              for stack, every in rises.items() for number, rise in enumerate(every)}  # fmt: skip
    method = methods()["measured-layers"]()
    prepared = method.prepare(leaves)
    for fraction, gone in ((0.0, {}), (0.25, {"encoder": {1}, "decoder": {2}}), (0.5, {"encoder": {1, 2}, "decoder": {0, 2}}),
                           (0.999, {"encoder": {1, 2, 3}, "decoder": {0, 1, 2}})):  # fmt: skip
        forms = method.at(prepared, leaves, SparsitySetting(fraction=fraction))
        left = {name for name, form in forms.items() if form.parameters_kept}
        went = {f"{stack}.layers.{number}.mlp.down" for stack, every in gone.items() for number in every}
        assert left == set(leaves) - went
        assert all(torch.equal(forms[name].dense(), leaves[name].weight) for name in left)


@pytest.mark.parametrize("name", ["measured-heads", "measured-layers"])
@pytest.mark.parametrize(
    ("rises", "told"), [(None, "which was not measured"), (torch.full((12,), torch.nan), "is not finite")]
)
def test_without_the_losses_it_is_refused(name: str, rises: torch.Tensor | None, told: str) -> None:
    one = leaf(matrix((7, 12)), head=3)
    leaves = {"layers.0.attention.o": replace(one, statistics=replace(one.statistics, rises=rises))}
    leaves |= {f"layers.0.attention.{other}": leaf(matrix((12, 5)), head=3) for other in "qkv"}
    with pytest.raises(ReparamError, match=told) as caught:
        methods()[name]().prepare(leaves)
    assert "\n" not in str(caught.value)


@EVERY
@pytest.mark.parametrize("unit", ["heads", "neurons"])
@pytest.mark.parametrize("how", ["one-shot", "sequential"])
def test_a_block_answers_with_what_stays_and_the_mean_of_what_went(
    architecture: str, unit: str, how: str, model: Model
) -> None:
    """In the whole model, against hooks: of a group of queries one unit; the module's own bias is added as before."""
    step = {"method": f"flap-{unit}", "fraction": 0.5, "statistics": how}
    setting = apply(model, {"rules": [{"sparsity": step}]}, calibration=read())
    roles = [role for role in setting.forms if role.endswith((".o", ".down"))]
    before, after = (captured(model, module, roles) for module in (model.module, setting.module))
    first = "layers.0." in roles[0] and roles[0]
    for role in roles if how == "one-shot" else [first]:
        form, weight = setting.forms[role], model.weight(role).double()
        stem = role.rpartition(".")[0]
        width = len(weight[0]) // (model.matrices[f"{stem}.k"].shape[0] // 8) if unit == "heads" else 1
        x, mean = after[role][0].double(), before[role][0].double().mean(0)
        moved = before[role][0].double().var(0, correction=0) * weight.square().sum(0)
        scores = moved.view(-1, width).sum(1)
        left = scores.argsort()[len(scores) // 2 :].sort().values
        kept = (left[:, None] * width + torch.arange(width)).flatten()
        assert torch.equal(form.columns, kept), role
        gone = torch.ones(len(mean), dtype=torch.bool).index_fill_(0, kept, False)
        expected = x[:, kept] @ weight[:, kept].T + weight[:, gone] @ mean[gone]
        own = getattr(model.module.get_submodule(model.matrices[role].module), "bias", None)
        expected += 0 if own is None else own.double()
        torch.testing.assert_close(after[role][1].double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
def test_what_never_moves_goes_without_a_trace(architecture: str, folder: Path, tmp_path: Path) -> None:
    """Neurons whose inputs are nothing answer what their bias makes of it to every token: their mean is all they say."""
    whole = load(folder / architecture)
    still = torch.arange(0, whole.matrices["layers.0.mlp.up"].shape[0], 3)
    roles = [role for role in whole.matrices if role.endswith("mlp.up")]
    forms = {role: Dense(whole.weight(role).index_fill(0, still, 0).half()) for role in roles}
    write_packed(tmp_path / "still", whole, forms, whole.storage)
    model = load(tmp_path / "still")
    share = len(still) / whole.matrices["layers.0.mlp.up"].shape[0]
    setting = pruned(model, "flap-neurons", share + 1e-9)
    for form in (one for role, one in setting.forms.items() if role.endswith("down")):
        assert not torch.isin(form.columns, still).any()
        assert form.bias.abs().max() > 1e-4
    torch.testing.assert_close(answered(setting.module), answered(model.module), rtol=1e-3, atol=1e-3)
    without = answered(model.clone({role: Dense(form.dense()) for role, form in setting.forms.items()}))
    assert (without - answered(model.module)).abs().max() > 10 * (
        answered(setting.module) - answered(model.module)
    ).abs().max()


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


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_in_another_storage_the_bias_is_rounded_as_in_the_file(architecture: str, model: Model, tmp_path: Path) -> None:
    first = pruned(model, "flap-neurons", 0.5)
    write_packed(tmp_path / "packed", model, first.forms, first.storage)
    again = load(tmp_path / "packed")
    setting = apply(again, {"rules": [{"where": "*.up", "bits": {"method": "rtn", "bits": 8}}], "storage": "bfloat16"})
    file = write_packed(tmp_path / "other", again, setting.forms, setting.storage)
    assert file.stat().st_size == setting.bytes
    torch.testing.assert_close(
        answered(setting.module), answered(load(tmp_path / "other").module), rtol=1e-5, atol=1e-5
    )


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
@pytest.mark.parametrize("name", ["heads", "neurons", "flap-heads", "flap-neurons", "measured-heads"])
def test_rank_and_bits_meet_what_is_left(architecture: str, name: str, model: Model) -> None:
    rank, bits = {"method": "svd", "keep": 0.5}, {"method": "gptq", "bits": 4}
    setting = pruned(model, name, 0.5, rank=rank, bits=bits)
    for role, form in setting.forms.items():
        parts = [type(one) for one in form.modules() if isinstance(one, Parametrization)]
        if methods()[name]().block(role) is None:
            assert parts == [LowRank, Quantized, Quantized]
        else:
            assert parts == [Sliced, LowRank, Quantized, Quantized]
            alone = pruned(model, name, 0.5).forms[role]
            assert form.inner.rank == min(alone.inner.shape) // 2
            assert form.inner.shape == alone.inner.shape
            assert torch.equal(added(form), added(alone))
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
                                              ("neurons:0.5", ""), ("heads:0.5", ""), ("layers:0.5", ""),
                                              ("flap-neurons:0.5", ""), ("flap-heads:0.5", ""), ("flap-layers:0.5", ""),
                                              ("measured-heads:0.5", ""), ("measured-layers:0.5", "")])  # fmt: skip
def test_on_what_was_compressed_before(
    architecture: str, name: str, before: str, told: str, model: Model, tmp_path: Path
) -> None:
    """Zeros stay zero, a smaller matrix becomes smaller still; factors and codes are refused."""
    first = apply(model, before, calibration=read())
    write_packed(tmp_path / "packed", model, first.forms, first.storage)
    again = load(tmp_path / "packed")
    if told:
        with pytest.raises(ReparamError, match=told):
            pruned(again, name, 0.5)
        return
    setting = pruned(again, name, 0.5)
    for role, form in setting.forms.items():
        assert form.parameters_kept or not added(form).any()
        assert not form.dense()[again.form(role).dense() == 0].any()
        assert [part for part in form.modules() if isinstance(part, Sparse)] or before != "magnitude:0.5"
    torch.testing.assert_close(answered(setting.module), plain(again, setting.forms), rtol=1e-3, atol=1e-4)
    file = write_packed(tmp_path / "twice", again, setting.forms, setting.storage)
    assert file.stat().st_size == setting.bytes <= first.bytes
    reloaded = load(tmp_path / "twice")
    for role, form in setting.forms.items():  # what is scored is what the file holds
        assert torch.equal(reloaded.form(role).dense(), form.dense()), role
    json.loads((tmp_path / "twice" / "parametrizations.json").read_text(encoding="utf-8"))
