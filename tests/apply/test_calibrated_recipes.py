"""Calibrated steps of a recipe: what they read, in which order, what is kept of them, and what is refused."""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reparam_core import ReparamError, apply, base, load, statistics
from reparam_core.apply import Applying, CancelledError, applying, goes_by_blocks, prepare, steps
from reparam_core.models import Model, write_packed
from reparam_core.parametrizations import Dense, LowRank, Parametrization, Quantized, Sparse
from reparam_core.recipes import Recipe
from reparam_core.registry import methods
from reparam_core.roles import layer_of
from reparam_core.store import reopen, store
from tests.tiny import built, read, saved

pytestmark = pytest.mark.usefixtures("own_store")
NAMES = ["llama", "gpt2", "bert", "t5", "mistral"]
CALIBRATED = {
    "whitened-svd": "whitened-svd:0.5",
    "whitened-als": "whitened-als:0.5",
    "asvd": "asvd:0.5",
    "fisher-svd": "fisher-svd:0.5",
    "low-rank-quantized": "low-rank-quantized:r2",
    "wanda": "wanda:0.5",
    "sparsegpt": "sparsegpt:2:4",
    "gptq": "gptq:3g16",
    "awq": "awq:3g16",
    "smoothquant": "smoothquant:8s",
    "obs-heads": "obs-heads:0.5",
    "obs-neurons": "obs-neurons:0.5",
    "flap-heads": "flap-heads:0.5",
    "flap-neurons": "flap-neurons:0.5",
    "flap-layers": "flap-layers:0.5",
    "measured-heads": "measured-heads:0.5",
    "measured-layers": "measured-layers:0.5",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models"), *NAMES)


@pytest.fixture
def llama(folder: Path) -> Model:
    return load(folder / "llama")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each pass over calibration text read."""
    seen, whole = list[int](), statistics._read
    monkeypatch.setattr(statistics, "_read", lambda model, module, ids: (seen.append(ids.numel()), whole(model, module, ids)))  # fmt: skip
    return seen


def rules(*given: dict[str, Any]) -> str:
    return json.dumps({"rules": list(given)})


def same(one: dict[str, Parametrization], other: dict[str, Parametrization]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[role].dense(), other[role].dense()) for role in one)


def captured(module: nn.Module, paths: list[str]) -> dict[str, Tensor]:
    """The input rows of these modules for all sequences at once."""
    rows: dict[str, Tensor] = {}
    for path in paths:
        module.get_submodule(path).register_forward_pre_hook(
            lambda _module, given, path=path: rows.update({path: given[0].flatten(0, -2)})
        )
    ids, whole = read().ids, module
    config: Any = whole.config
    start = torch.zeros_like(ids[:, :1])
    extra = {"decoder_input_ids": torch.cat([start, ids[:, :-1]], 1)} if config.is_encoder_decoder else {}
    with torch.no_grad():
        whole(input_ids=ids, **extra)
    return rows


def test_every_calibrated_method_is_here() -> None:
    assert set(CALIBRATED) == {name for name, kind in methods().items() if kind.needs}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["one-shot", "sequential"])
def test_wanda_of_a_whole_model_by_hand(name: str, how: str, folder: Path) -> None:
    """Block by block with the tests' own hooks: behind the pruned blocks, or all on the base."""
    model, pruned = load(folder / name), dict[str, Parametrization]()
    roles = [role for role, one in model.matrices.items() if one.compressed_by_default]
    for layer in dict.fromkeys(map(layer_of, roles)):
        mine = {role: model.matrices[role].module for role in roles if layer_of(role) == layer}
        rows = captured(model.clone(pruned if how == "sequential" else {}), list(mine.values()))
        for role, path in mine.items():
            weight = model.weight(role).clone()
            order = (weight.abs() * rows[path].norm(dim=0)).argsort(1)
            pruned[role] = Dense(weight.scatter(1, order[:, : weight.shape[1] // 2], 0))
    setting = apply(model, f"wanda:0.5@{how}", calibration=read())
    assert set(setting.forms) == set(roles)
    differing = sum(int((setting.forms[role].dense() != pruned[role].dense()).sum()) for role in roles)
    assert differing <= 4  # of numbers that are all but tied


def test_what_stands_first_is_read_alike_and_what_follows_is_not(llama: Model) -> None:
    once, behind = (apply(llama, f"wanda:0.5{how}", calibration=read()).forms for how in ("", "@sequential"))
    assert torch.equal(once["layers.0.mlp.down"].dense(), behind["layers.0.mlp.down"].dense())
    assert not torch.equal(once["layers.1.mlp.down"].dense(), behind["layers.1.mlp.down"].dense())


@pytest.mark.parametrize("recipe", [*CALIBRATED.values(), "svd:0.5 + sparsegpt:0.5 + gptq:4g16",
                                    "svd:0.5 + sparsegpt:0.5 + smoothquant:8s"])  # fmt: skip
@pytest.mark.parametrize("how", ["", "@sequential"])
def test_the_module_computes_with_what_the_file_holds(recipe: str, how: str, llama: Model, tmp_path: Path) -> None:
    names = [step.split(":")[0] for step in recipe.split(" + ")]
    if how and not all(goes_by_blocks(methods()[name]()) for name in names):
        pytest.skip("one looks at the whole model, or at what is known of the untouched one alone")
    steps = [f"{step}{how if step.split(':')[0] in CALIBRATED else ''}" for step in recipe.split(" + ")]
    setting = apply(llama, " + ".join(steps), calibration=read())
    file = write_packed(tmp_path / "packed", llama, setting.forms, setting.storage)
    again = load(tmp_path / "packed")
    assert file.stat().st_size == setting.bytes
    assert same(setting.forms, {role: again.form(role) for role in setting.forms})
    ids = read(seed=5).ids
    with torch.no_grad():
        mine, theirs = setting.module(input_ids=ids).logits, again.module(input_ids=ids).logits
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_a_left_factor_is_rounded_for_what_the_right_one_hands_it(llama: Model) -> None:
    """Its inputs are the right factor's answers: the plain grid loses more of the output."""
    role = "layers.0.mlp.down"
    x = captured(llama.clone({}), [llama.matrices[role].module])[llama.matrices[role].module].double()
    exact = apply(llama, rules({"where": role, "rank": {"method": "svd", "keep": 0.5}})).forms[role]
    lost = {}
    for name in ("gptq", "rtn"):
        made = apply(llama, rules({"where": role, "rank": {"method": "svd", "keep": 0.5}, "bits": {"method": name, "bits": 3}}),
                     calibration=read()).forms[role]  # fmt: skip
        assert isinstance(made, LowRank)
        assert isinstance(made.left, Quantized)
        lost[name] = float((x @ (made.dense() - exact.dense()).double().T).norm())
    assert lost["gptq"] < lost["rtn"]


def test_other_text_is_other_statistics(llama: Model) -> None:
    for recipe in ("whitened-svd:0.5", "wanda:0.5", "gptq:3@sequential"):
        first, other, again = (apply(llama, recipe, calibration=read(seed=seed)).forms for seed in (0, 1, 0))
        assert same(first, again)
        assert not same(first, other)


def test_shrinkage_draws_the_statistics_towards_none(llama: Model) -> None:
    """At almost all of it every input weighs the same, and what is left of the whitened SVD is the plain one."""
    drawn = rules({"rank": {"method": "whitened-svd", "keep": 0.5, "shrinkage": 0.999999}})
    found, plain, whitened = (apply(llama, one, calibration=read(24, 16)).forms
                              for one in (drawn, "svd:0.5", "whitened-svd:0.5"))  # fmt: skip
    for role, form in found.items():
        torch.testing.assert_close(form.dense(), plain[role].dense(), atol=2e-3, rtol=0)
        assert (form.dense() - plain[role].dense()).norm() < (whitened[role].dense() - plain[role].dense()).norm() / 10


def test_where_nothing_reads_no_text_is_read(llama: Model, passes: list[int]) -> None:
    apply(llama, "svd:0.5 + magnitude:2:4 + hqq:4")
    assert not passes
    apply(llama, "wanda:0.5", calibration=read())
    assert passes


@pytest.mark.parametrize("recipe", ["gptq:4", "sparsegpt:0.5@sequential", "wanda:0.5@sequential", "als:0.5 + hqq:4g16",
                                    "whitened-svd:0.5@sequential + rtn:8", "svd:0.5 + sparsegpt:2:4 + gptq:4g16"])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_took_long_is_made_once(
    recipe: str, dtype: torch.dtype, llama: Model, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = apply(llama, recipe, calibration=read(), dtype=dtype)
    passes.clear()
    for part in recipe.split(" + "):
        monkeypatch.setattr(methods()[part.split(":")[0]], "at_matrix", lambda *_: pytest.fail("made twice"))
    again = apply(llama, recipe, calibration=read(), dtype=dtype)
    assert not passes
    assert same(first.forms, again.forms)
    assert first.bytes == again.bytes
    assert first.parameters == again.parameters
    assert [form.kernel for form in first.forms.values()] == [form.kernel for form in again.forms.values()]
    with torch.no_grad():
        answers = [one.module(input_ids=read().ids).logits for one in (first, again)]
    assert torch.equal(*answers)


def test_what_was_made_is_not_taken_for_another(llama: Model) -> None:
    """Another text, another field, another storage: each has a key of its own."""
    step = {"method": "gptq", "bits": 3}
    apply(llama, rules({"bits": step}), calibration=read())
    for recipe, text in (
        (rules({"bits": step}), read(seed=1)), (rules({"bits": step | {"damping": 0.1}}), read()),
        (rules({"bits": step | {"act_order": True}}), read()), (rules({"bits": step | {"statistics": "sequential"}}), read()),
        (json.dumps({"rules": [{"bits": step}], "storage": "bfloat16"}), read()),
    ):  # fmt: skip
        progress = list[str]()
        apply(llama, recipe, calibration=text, progress=lambda _share, what, told=progress: told.append(what))
        assert progress, recipe
    progress = []
    apply(llama, rules({"bits": step}), calibration=read(), progress=lambda _share, what: progress.append(what))
    assert not progress


@pytest.mark.parametrize(("axis", "step", "other"), [
    ("bits", {"method": "gptq", "bits": 3}, {"free_zero": True}), ("bits", {"method": "gptq", "bits": 3}, {"clip": False}),
    ("sparsity", {"method": "sparsegpt", "fraction": 0.5}, {"kept_bits": 4})])  # fmt: skip
def test_a_field_that_preparing_does_not_read_finds_what_was_prepared(
    llama: Model, monkeypatch: pytest.MonkeyPatch, axis: str, step: dict[str, Any], other: dict[str, Any]
) -> None:
    first = apply(llama, rules({axis: step}), calibration=read())
    monkeypatch.setattr(methods()[step["method"]], "prepare", lambda *_: pytest.fail("prepared twice"))
    again = apply(llama, rules({axis: step | other}), calibration=read())
    assert first.seconds["prepare"] > 0 == again.seconds["prepare"]
    assert not same(first.forms, again.forms)


def test_what_is_damaged_in_the_store_is_made_anew(llama: Model) -> None:
    first = apply(llama, "gptq:4", calibration=read()).forms
    for path in (store().directory / "prepared").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-9])
    store()._open.clear()
    assert same(first, apply(llama, "gptq:4", calibration=read()).forms)


def test_progress_goes_block_by_block(llama: Model) -> None:
    told: list[tuple[float, str]] = []
    apply(llama, "wanda:0.5@sequential", calibration=read(), progress=lambda share, what: told.append((share, what)))
    assert [one for one in told if "Compressing" in one[1]] == [
        (0, "Compressing layers.0"),
        (0.5, "Compressing layers.1"),
    ]
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    paused = [what for _, what in told if what == "Reading the calibration text in layers.1"]
    assert len(paused) == len(read().ids.split(statistics.BATCH))


def test_time_that_two_threads_prepare_in_is_taken_once(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Preparing and applying are parts of one wait, so that neither is less than nothing."""
    kind, whole = methods()["gptq"], methods()["gptq"].prepare

    def slowly(*given: Any) -> Any:
        time.sleep(0.05)
        return whole(*given)

    monkeypatch.setattr(kind, "prepare", slowly)
    seconds = apply(llama, "gptq:4@sequential", calibration=read()).seconds
    assert seconds["prepare"] > 0 <= seconds["apply"]


def test_whoever_cancels_between_blocks_gets_nothing_and_leaves_no_hook(llama: Model) -> None:
    threads, told = torch.get_num_threads(), list[str]()
    with pytest.raises(CancelledError):
        apply(llama, "gptq:4@sequential", calibration=read(), progress=lambda _, what: told.append(what),
              cancelled=lambda: len(told) == 1)  # fmt: skip
    assert len(told) == 1
    assert torch.get_num_threads() == threads
    assert not any(one._forward_pre_hooks for one in llama.module.modules())
    assert len(apply(llama, "gptq:4@sequential", calibration=read()).forms) == 14


def told_until(work: Applying, end: str) -> list[str]:
    """What was said of the work before it was left for good."""
    told = list(itertools.takewhile(lambda what: what != end, (what for _, what in work)))
    work.close()
    return told


@pytest.mark.parametrize(
    ("name", "recipe", "end"),
    [
        ("llama", "gptq:3g16@sequential", "Compressing layers.1"),
        ("llama", "svd:0.5 + sparsegpt:0.5@sequential + rtn:4g16", "Compressing layers.1"),
        ("llama", "obs-neurons:0.5@sequential + gptq:3g16@sequential", "Compressing layers.1"),
        ("gpt2", "whitened-svd:0.5@sequential + smoothquant:8s@sequential", "Compressing layers.1"),
        ("t5", "gptq:3g16@sequential", "Compressing decoder.layers.0"),
        ("llama", "gptq:3g16", "Rewriting layers.1.attention.q"),
        ("llama", "wanda:0.5@outliers + hqq:4g16", "Rewriting layers.1.attention.q"),
        ("gpt2", "heads:0.5 + hqq:4g16", "Rewriting layers.1.attention.q"),
        ("bert", rules({"bits": {"method": "gptq", "bits": 3, "statistics": "sequential"}},
                       {"where": "embedding", "bits": {"method": "hqq", "bits": 4}}), "Rewriting embedding"),
    ],
)  # fmt: skip
def test_what_is_broken_off_goes_on_from_there(
    name: str, recipe: str, end: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No matrix of the parts before is solved again, and all is as if nothing had been broken off."""
    model, solved, whole = load(folder / name), list[str](), steps._step

    def noted(work: Any, step: Any, forms: Any, history: Any) -> Any:
        solved.extend(forms)
        return whole(work, step, forms, history)

    monkeypatch.setattr(steps, "_step", noted)
    assert told_until(applying(model, recipe, calibration=read()), end)
    before = set(solved)
    solved.clear()
    setting = apply(model, recipe, calibration=read())
    assert before
    assert solved
    assert not before & set(solved)
    monkeypatch.setenv("REPARAM_CACHE", str(tmp_path / "other"))
    reopen()
    at_once = apply(model, recipe, calibration=read())
    assert same(setting.forms, at_once.forms)
    assert list(setting.forms) == list(at_once.forms)
    assert setting.bytes == at_once.bytes


def test_what_stands_outside_the_blocks_comes_last(llama: Model) -> None:
    """Blocks are calibrated on the model's own embedding, whatever is done to it."""
    seq = {"method": "wanda", "fraction": 0.5, "statistics": "sequential"}
    alone = apply(llama, rules({"sparsity": seq}), calibration=read()).forms
    both = apply(llama, rules({"sparsity": seq}, {"where": "embedding", "bits": {"method": "rtn", "bits": 2}}),
                 calibration=read()).forms  # fmt: skip
    assert isinstance(both.pop("embedding"), Quantized)
    assert same(alone, both)


def test_some_blocks_and_some_matrices_only(llama: Model) -> None:
    setting = apply(llama, rules(
        {"where": "layers.1.mlp.*", "sparsity": {"method": "wanda", "fraction": 0.5, "statistics": "sequential"}},
        {"where": "layers.0.attention.q", "bits": {"method": "gptq", "bits": 3}},
    ), calibration=read())  # fmt: skip
    assert {role: form.form for role, form in setting.forms.items()} == {
        "layers.0.attention.q": "quantized", "layers.1.mlp.gate": "sparse", "layers.1.mlp.up": "sparse",
        "layers.1.mlp.down": "sparse"}  # fmt: skip


@pytest.mark.parametrize(("name", "where"), [("bert", "position"), ("bert", "*")])
@pytest.mark.parametrize("how", ["one-shot", "sequential"])
def test_what_is_only_looked_up_cannot_be_calibrated(name: str, where: str, how: str, folder: Path) -> None:
    recipe = rules({"where": where, "sparsity": {"method": "wanda", "fraction": 0.5, "statistics": how}})
    with pytest.raises(ReparamError, match=r"(embedding|position)") as caught:
        apply(load(folder / name), recipe, calibration=read())
    assert "Leave that matrix out" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("how", ["one-shot", "sequential"])
def test_a_tied_head_is_calibrated_on_what_it_multiplies(llama: Model, how: str) -> None:
    """Sequentially on what the compressed blocks answer."""
    blocks = {"where": "layers.*", "bits": {"method": "rtn", "bits": 2}}
    head = {"where": "embedding", "sparsity": {"method": "wanda", "pattern": "2:4", "statistics": how}}
    forms = dict(apply(llama, rules(blocks, head), calibration=read()).forms)
    form = forms.pop("embedding")
    x = captured(llama.clone(forms if how == "sequential" else {}), ["lm_head"])["lm_head"]
    order = (llama.weight("embedding").abs() * x.norm(dim=0)).view(96, 8, 4).argsort(-1)
    kept = torch.zeros(96, 8, 4).scatter(-1, order[..., 2:], 1).bool().view(96, 32)
    assert isinstance(form, Sparse)
    assert torch.equal(form.mask, kept)


def test_a_step_over_the_whole_model_cannot_go_block_by_block(llama: Model) -> None:
    step = {"bits": {"method": "gptq", "bits": 4, "statistics": "sequential"}}
    for scope in ("model", "layer"):
        recipe = rules(step | {"sparsity": {"method": "magnitude", "fraction": 0.5, "scope": scope}})
        if scope == "layer":
            assert len(apply(llama, recipe, calibration=read()).forms) == 14
            continue
        with pytest.raises(ReparamError, match=r"cannot go block by block\. Take the scope matrix or layer") as caught:
            apply(llama, recipe, calibration=read())
        assert "\n" not in str(caught.value)


def test_preparing_beforehand_leaves_out_what_reads_text(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    for recipe in CALIBRATED.values():
        prepare(llama, Recipe.parse(recipe), progress=lambda *_: pytest.fail("nothing hangs on the weights alone"))
    prepare(llama, Recipe.parse("svd:0.5 + wanda:0.5"))
    monkeypatch.setattr(methods()["svd"], "prepare", lambda *_: pytest.fail("prepared twice"))
    apply(llama, "svd:0.25 + wanda:0.5", calibration=read())


def test_what_was_factored_before_is_calibrated_factor_by_factor(llama: Model, tmp_path: Path) -> None:
    setting = apply(llama, "svd:0.5")
    write_packed(tmp_path / "thin", llama, setting.forms, setting.storage)
    thin = load(tmp_path / "thin")
    for how in ("", "@sequential"):
        made = apply(thin, f"gptq:4{how}", calibration=read())
        assert {form.form for form in made.forms.values()} == {"low_rank"}
        assert made.bytes < base(thin).bytes
        assert all(torch.isfinite(form.dense()).all() for form in made.forms.values())


@pytest.mark.parametrize(
    "recipe",
    [*(text for name, text in CALIBRATED.items() if not methods()[name].removes), "svd:0.5", "als:0.5", "magnitude:0.5",
     "random:2:4", "rtn:4", "hqq:4"],
)  # fmt: skip
def test_a_weight_that_is_not_finite_is_told_with_its_place(recipe: str, tmp_path: Path) -> None:
    built("llama").half().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = torch.nan
    save_file(tensors, file, {"format": "pt"})
    where = {"where": "layers.1.mlp.{up,down}"}  # nothing behind it in the same pass
    step = next(iter(Recipe.parse(recipe).as_json()["rules"]))
    with pytest.raises(ReparamError, match=r"layers\.1\.mlp\.(up|down): .* not finite") as caught:
        apply(load(tmp_path), rules(where | step), calibration=read())
    assert "\n" not in str(caught.value)


def test_a_hessian_that_cannot_be_inverted_is_told_with_its_place(llama: Model) -> None:
    recipe = rules({"where": "layers.1.mlp.down", "bits": {"method": "gptq", "bits": 4, "damping": 1e-300}})
    with pytest.raises(ReparamError, match=r"layers\.1\.mlp\.down: The Hessian of this matrix cannot be inverted"):
        apply(llama, recipe, calibration=read(1, 3))
