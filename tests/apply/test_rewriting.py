"""A rewrite keeps the function of every RMSNorm family, leaves the base alone, and what follows sees the new numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from torch import nn

from reparam_core import ReparamError, apply, base, load, measure
from reparam_core.apply import check, finished, prepare
from reparam_core.apply import rewriting as module_under_test
from reparam_core.apply.rewriting import rewritten
from reparam_core.measure import measured
from reparam_core.measure.changes import bytes_by_kind, changes, claims
from reparam_core.models import Model, write_packed
from reparam_core.parametrizations import Quantized
from reparam_core.recipes import Recipe
from reparam_core.statistics import one_shot
from tests.tiny import GROUPED, read, saved

pytestmark = pytest.mark.usefixtures("own_store")

GEMMA = GROUPED | {"pad_token_id": 0}
SLIDING = GEMMA | {"sliding_window": 4, "query_pre_attn_scalar": 8}
FAMILIES: dict[str, Callable[[], t.PreTrainedModel]] = {
    "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**GROUPED, tie_word_embeddings=True)),
    "llama-untied": lambda: t.LlamaForCausalLM(t.LlamaConfig(**GROUPED, tie_word_embeddings=False)),
    "llama-biased": lambda: t.LlamaForCausalLM(t.LlamaConfig(**GROUPED, attention_bias=True, mlp_bias=True)),
    "llama-classifier": lambda: t.LlamaForSequenceClassification(t.LlamaConfig(**GROUPED, pad_token_id=0)),
    "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**GROUPED, sliding_window=4)),
    "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**GROUPED, tie_word_embeddings=True)),
    "qwen3": lambda: t.Qwen3ForCausalLM(t.Qwen3Config(**GROUPED)),
    "gemma": lambda: t.GemmaForCausalLM(t.GemmaConfig(**GEMMA)),
    "gemma2": lambda: t.Gemma2ForCausalLM(t.Gemma2Config(**SLIDING)),
    "gemma3": lambda: t.Gemma3ForCausalLM(t.Gemma3TextConfig(**SLIDING)),
}
SANDWICHED = ("gemma2", "gemma3")
ROTATE = [{"method": "rotate"}]


def trained(name: str) -> t.PreTrainedModel:
    """With gains, biases and columns that are none of the usual ones, as training leaves them."""
    torch.manual_seed(0)
    model = FAMILIES[name]()
    for path, value in model.named_parameters():
        if path.endswith("bias") or "norm" in path:
            value.data += 0.3 * torch.randn_like(value)
        if path.endswith(("o_proj.weight", "down_proj.weight")):
            value.data *= torch.randn(value.shape[1]).exp()
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = saved(tmp_path_factory.mktemp("models"), "gpt2", "bert", "t5")
    for name in FAMILIES:
        trained(name).half().save_pretrained(place / name)
    t.LlamaModel(t.LlamaConfig(**GROUPED)).half().save_pretrained(place / "headless")
    return place


@pytest.fixture
def llama(folder: Path) -> Model:
    return load(folder / "llama")


def logits(module: nn.Module) -> torch.Tensor:
    ids = torch.arange(2, 34).view(2, 16)
    with torch.no_grad():
        found: torch.Tensor = module(input_ids=ids).logits
    return found


def exactly(*names: str) -> str:
    """The recipe of these rewrites alone, all numbers kept as they are computed."""
    return json.dumps({"transform": [{"method": name} for name in names], "rules": [], "storage": "float32"})


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """‖found − expected‖ / ‖expected‖."""
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("names", [("fold-norms",), ("rotate",), ("smooth",), ("fold-norms", "rotate"), ("rotate", "rotate"),
                                   ("smooth", "rotate", "smooth")])  # fmt: skip
def test_a_rewrite_keeps_the_function(names: tuple[str, ...], name: str, folder: Path) -> None:
    model = load(folder / name)
    before, expected = {key: one.clone() for key, one in model.module.state_dict().items()}, logits(model.module)
    if "rotate" in names and name in SANDWICHED:
        with pytest.raises(ReparamError, match="norms behind attention and MLP"):
            apply(model, exactly(*names))
        return
    setting = apply(model, exactly(*names), calibration=read())
    assert apart(logits(setting.module), expected) < 1e-4
    changed = [role for role in model.matrices if not torch.equal(setting.start.weight(role), model.weight(role))]
    assert len(changed) >= 5 * model.layers
    assert all(torch.equal(before[key], one) for key, one in model.module.state_dict().items())
    assert torch.equal(logits(model.module), expected)


@pytest.mark.parametrize("fields", [{"kind": "orthogonal"}, {"heads": False}, {"seed": 3}])
def test_every_field_of_the_rotation_says_something(fields: dict[str, Any], llama: Model) -> None:
    said = {"transform": [{"method": "rotate"} | fields], "rules": [], "storage": "float32"}
    own, usual = apply(llama, said), apply(llama, exactly("rotate"))
    assert apart(logits(own.module), logits(llama.module)) < 1e-4
    assert any(not torch.equal(own.start.weight(role), usual.start.weight(role)) for role in llama.matrices)
    assert own.start.sha256 != usual.start.sha256


def test_heads_turn_by_themselves(llama: Model) -> None:
    """v's rows and o's columns of a head span what they spanned; without heads v alone is only turned back."""
    with_heads, without = (
        rewritten(llama, Recipe.parse({"transform": [{"method": "rotate", "heads": heads}], "rules": []}))
        for heads in (True, False)
    )
    own, plain = (one.weight("layers.0.attention.v").view(2, 8, 32) for one in (with_heads, without))
    torch.testing.assert_close(own.mT @ own, plain.mT @ plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(own, plain, atol=1e-2)


@pytest.mark.parametrize("name", ["llama", "llama-untied", "gemma", "qwen2"])
def test_gains_are_one_but_before_a_tied_head(name: str, folder: Path) -> None:
    model = load(folder / name)
    for method, last in (("fold-norms", bool(model.matrices["embedding"].tied)), ("rotate", False)):
        found = module_under_test.network_of(rewritten(model, Recipe.parse(method)))
        kept = [path for path, norm in found.norms.items() if not torch.equal(norm.gain, torch.ones(32))]
        assert kept == (["model.norm"] if last else [])


@pytest.mark.parametrize(("name", "added"), [("llama", 32 * 32), ("llama-untied", 0), ("gemma", 32 * 32)])
@pytest.mark.parametrize("rest", ["", " + rtn:4g8", " + svd:0.5 + rtn:4"])
def test_bytes_are_those_of_the_file_which_loads_again(
    name: str, added: int, rest: str, folder: Path, tmp_path: Path
) -> None:
    model = load(folder / name)
    setting = apply(model, f"rotate{rest}")
    file = write_packed(tmp_path / "packed", setting.start, setting.forms, setting.storage)
    assert file.stat().st_size == setting.bytes
    again = load(tmp_path / "packed")
    assert apart(logits(again.module), logits(setting.module)) < 1e-5  # what is packed is computed densely
    assert base(again).bytes == setting.bytes
    if not rest:
        assert setting.parameters - model.parameters == added
        assert apart(logits(setting.module), logits(model.module)) < 2e-3  # what rounding to float16 costs


def test_a_rewritten_folder_can_be_rewritten_again(llama: Model, tmp_path: Path) -> None:
    setting = apply(llama, "rotate")
    write_packed(tmp_path / "packed", setting.start, setting.forms, setting.storage)
    again = load(tmp_path / "packed")
    twice = apply(again, exactly("rotate"))
    assert apart(logits(twice.module), logits(again.module)) < 1e-4
    assert twice.parameters == again.parameters


def test_rules_work_on_the_new_numbers_and_quality_is_told_against_the_base(llama: Model) -> None:
    plain, turned = apply(llama, "rtn:4g8"), apply(llama, "rotate + rtn:4g8")
    role = "layers.0.mlp.up"
    assert isinstance(turned.forms[role], Quantized)
    assert apart(turned.forms[role].dense(), turned.start.weight(role)) < 0.2
    assert apart(turned.forms[role].dense(), llama.weight(role)) > 0.5
    assert turned.model is llama
    assert measure_nll(turned) == pytest.approx(measure_nll(plain))
    row = next(one for one in changes(turned) if one["role"] == role)
    assert row["relative_error"] < 0.2


def measure_nll(setting: Any) -> float:
    """Of the base, beside which the setting is measured."""
    return float(base(setting.model).module(torch.arange(2, 34)[None], labels=torch.arange(2, 34)[None]).loss)


@pytest.mark.parametrize("rest", ["wanda:0.5", "gptq:3g8", "gptq:3g8@sequential", "whitened-svd:0.5", "fisher-svd:0.5"])
def test_statistics_are_those_of_the_rewritten_inputs(rest: str, llama: Model) -> None:
    apply(llama, rest, calibration=read())  # what the store then knows of the base is of no use here
    found = apply(llama, f"rotate + {rest}", calibration=read())
    alone = apply(rewritten(llama, Recipe.parse("rotate")), rest, calibration=read())
    for role, form in found.forms.items():
        assert apart(form.dense(), alone.forms[role].dense()) < 1e-3


def test_theory_and_bytes_count_the_matrix_behind_the_last_norm(llama: Model) -> None:
    setting = apply(llama, "rotate")
    known = {one.what: one.ratio for one in claims(setting)}
    assert known["numbers kept"] > 1
    assert known["multiply-adds a token"] > 1
    kinds = {one["kind"]: one for one in bytes_by_kind(setting)}
    assert kinds["rotation"] == {"kind": "rotation", "bytes": 2 * 32 * 32, "bytes_base": 0}
    assert kinds["mlp"]["bytes"] == kinds["mlp"]["bytes_base"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("gpt2", "decoders with RMSNorm alone"), ("bert", "decoders with RMSNorm alone"), ("t5", "decoders with RMSNorm alone"),
     ("headless", "has no head")],
)  # fmt: skip
@pytest.mark.parametrize("rewrite", ["fold-norms", "smooth"])
def test_what_cannot_be_kept_is_refused_before_any_work(rewrite: str, name: str, told: str, folder: Path) -> None:
    with pytest.raises(ReparamError, match=told) as caught:
        check(load(folder / name), f"{rewrite} + rtn:4")
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_compressed_is_not_undone(llama: Model, tmp_path: Path) -> None:
    setting = apply(llama, "rtn:4")
    write_packed(tmp_path / "packed", setting.start, setting.forms, setting.storage)
    with pytest.raises(ReparamError, match="quantized already: a rewrite would undo that"):
        check(load(tmp_path / "packed"), "rotate")


def test_few_rewritten_models_stay(llama: Model) -> None:
    first = rewritten(llama, Recipe.parse("rotate"))
    assert rewritten(llama, Recipe.parse("rotate + rtn:4")) is first
    for seed in range(1, 1 + module_under_test.KEPT):
        rewritten(llama, Recipe.parse({"transform": [{"method": "rotate", "seed": seed}], "rules": []}))
    assert rewritten(llama, Recipe.parse("rotate")) is not first
    assert rewritten(llama, Recipe.parse("rtn:4")) is llama


def peaks(model: Model, role: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every channel the largest input and the largest weight."""
    inputs = finished(one_shot(model, [role], read()))[role].peak
    return inputs, model.weight(role).abs().amax(0)


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma"])
@pytest.mark.parametrize(("role", "shared"), [("mlp.down", 1), ("attention.o", 2)])
def test_inputs_and_weights_are_as_large_in_every_channel(role: str, shared: int, name: str, folder: Path) -> None:
    """SmoothQuant's rule at a half; heads of queries that share a head of values together."""
    model = load(folder / name)
    found = rewritten(model, Recipe.parse("smooth"), read())
    spreads = []
    for one in (model, found):
        x, w = (peak.view(-1, shared, 8).amax(1) for peak in peaks(one, f"layers.1.{role}"))
        ratio = (x / w).log2()
        spreads.append(float(ratio.max() - ratio.min()))
    assert spreads[1] < 0.01 < spreads[0]


def test_readers_of_a_norm_share_its_scale(llama: Model) -> None:
    found = rewritten(llama, Recipe.parse("smooth"), read())
    for readers in (("attention.q", "attention.k", "attention.v"), ("mlp.gate", "mlp.up")):
        own = [peaks(found, f"layers.0.{role}") for role in readers]
        ratio = (own[0][0] / torch.stack([w for _, w in own]).amax(0)).log2()
        assert float(ratio.max() - ratio.min()) < 0.01


def test_scaling_costs_no_byte_and_float16_keeps_it(llama: Model) -> None:
    for rest in ("rtn:4g8", "svd:0.5 + rtn:4"):
        plain, scaled = apply(llama, rest), apply(llama, f"smooth + {rest}", calibration=read())
        assert (scaled.bytes, scaled.parameters) == (plain.bytes, plain.parameters)
        assert any(not torch.equal(form.dense(), plain.forms[role].dense()) for role, form in scaled.forms.items())
    alone = apply(llama, "smooth", calibration=read())
    assert alone.bytes == base(llama).bytes
    assert apart(logits(alone.module), logits(llama.module)) < 2e-3  # what rounding to float16 costs


def test_the_text_that_a_rewrite_reads_belongs_to_its_key(llama: Model) -> None:
    smooth, rotate = Recipe.parse("smooth"), Recipe.parse("rotate")
    first = rewritten(llama, smooth, read())
    assert rewritten(llama, smooth, read()) is first
    assert rewritten(llama, smooth, read(seed=1)).sha256 != first.sha256
    assert rewritten(llama, rotate, read()).sha256 == rewritten(llama, rotate, read(seed=1)).sha256
    stronger = Recipe.parse({"transform": [{"method": "smooth", "strength": 0.75}], "rules": []})
    assert rewritten(llama, stronger, read()).sha256 != first.sha256


def test_a_rewrite_reads_the_inputs_that_the_one_before_it_leaves(llama: Model) -> None:
    both = rewritten(llama, Recipe.parse("rotate + smooth"), read())
    alone = rewritten(rewritten(llama, Recipe.parse("rotate")), Recipe.parse("smooth"), read())
    for role in llama.matrices:
        assert torch.equal(both.weight(role), alone.weight(role))


def test_what_is_scored_must_not_stand_in_what_a_rewrite_reads() -> None:
    decoder = load("embedded-decoder")
    own = {"transform": [{"method": "smooth"}], "rules": [], "calibration": {"text": "addresses", "sequences": 2}}
    with pytest.raises(ReparamError, match="The calibration holds 32 tokens in a row"):
        measured(decoder, Recipe.parse(own), text="addresses", sequences=2, latency=False, with_tasks=False)


def test_what_hangs_on_the_rewritten_weights_can_be_prepared() -> None:
    decoder, told = load("embedded-decoder"), list[str]()
    recipe = Recipe.parse({"transform": [{"method": "smooth"}], "rules": [{"sparsity": {"method": "magnitude", "fraction": 0.5}}],
                           "calibration": {"sequences": 2, "length": 32}})  # fmt: skip
    prepare(decoder, recipe, lambda _, what: told.append(what))
    assert told
    assert apply(decoder, recipe).seconds["prepare"] == 0


def test_the_embedded_decoder_is_as_good_rotated() -> None:
    found = measure(apply(load("embedded-decoder"), "rotate"), sequences=2, length=128, latency=False, with_tasks=False)
    assert abs(found["delta_nll"]) < 1e-3
