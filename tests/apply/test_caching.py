"""Keys and values in few bits: rounded as a cache would hold them, counted, packed, and refused where none is kept."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reparam_core import ReparamError, apply, load
from reparam_core.apply.caching import cache_bytes, cached_roles
from reparam_core.measure.changes import claims
from reparam_core.models import Model, write_packed
from reparam_core.models.model import structural_clone
from reparam_core.parametrizations import Cached, Quantized
from reparam_core.recipes import Recipe
from tests.tiny import answered, saved

pytestmark = pytest.mark.usefixtures("own_store")

NAMES = ["llama", "gpt2", "t5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models"), *NAMES, "bert")


@pytest.fixture
def llama(folder: Path) -> Model:
    return load(folder / "llama")


IDS = torch.arange(2, 34).view(2, 16)


def rounded(y: torch.Tensor, bits: int, group: int) -> torch.Tensor:
    """Token by token, group by group: between its least and its greatest number, zero among them."""
    answer, top = np.empty(tuple(y.shape), np.float32), 2**bits - 1
    for at in np.ndindex(*y.shape[:-1]):
        token = y[at].numpy()
        for start in range(0, len(token), group):
            part = token[start : start + group]
            low, high = min(part.min(), 0), max(part.max(), 0)
            step = np.float32(np.float16((high - low) / np.float32(top)))
            zero = np.rint(-low / step)
            answer[at][start : start + group] = (np.clip(np.rint(part / step + zero), 0, top) - zero) * step
    return torch.from_numpy(answer)


@pytest.mark.parametrize("group", [8, 5, 64])
def test_it_is_what_rounding_keys_and_values_by_hand_gives(llama: Model, group: int) -> None:
    by_hand = structural_clone(llama.module)
    for name, module in by_hand.named_modules():
        if name.endswith(("k_proj", "v_proj")):
            module.register_forward_hook(lambda _module, _given, y: rounded(y, 3, group))
    found = apply(llama, f"cache:3g{group}")
    torch.testing.assert_close(answered(found.module, IDS), answered(by_hand, IDS), rtol=1e-4, atol=1e-4)
    assert (answered(found.module, IDS) - answered(llama.module, IDS)).abs().max() > 1e-3


def test_tokens_one_after_the_other_read_the_same_cache(llama: Model) -> None:
    """Written once and never changed: what a model that writes text finds there is what all tokens at once find."""
    module, past, found = apply(llama, "rtn:4g16 + cache:4g8").module, None, list[torch.Tensor]()
    for place in range(IDS.shape[1]):
        with torch.no_grad():
            answer = module(input_ids=IDS[:, place : place + 1], past_key_values=past, use_cache=True)
        past = answer.past_key_values
        found.append(answer.logits)
    torch.testing.assert_close(torch.cat(found, 1), answered(module, IDS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_more_bits_lose_less_and_weights_stay_as_they_are(folder: Path, name: str) -> None:
    model = load(folder / name)
    before, lost = answered(model.module, IDS), []
    for bits in (2, 4, 8):
        setting = apply(model, f"cache:{bits}g8")
        assert setting.forms.keys() == set(cached_roles(model))
        assert all(torch.equal(form.dense(), model.weight(role)) for role, form in setting.forms.items())
        lost.append(float((answered(setting.module, IDS) - before).norm() / before.norm()))
    assert lost[0] > lost[1] > lost[2] > 0
    assert lost[2] < 0.01


def test_which_matrices_answer_what_is_kept(folder: Path) -> None:
    assert cached_roles(load(folder / "llama")) == [f"layers.{i}.attention.{one}" for i in (0, 1) for one in "kv"]
    kept = cached_roles(load(folder / "t5"))
    assert "decoder.layers.1.cross.v" in kept
    assert not any(role.startswith("encoder") for role in kept)
    assert cached_roles(load(folder / "bert")) == []


def test_the_bytes_of_a_token_are_counted(llama: Model) -> None:
    """Two blocks keep 16 keys and 16 values a token: as float16 two bytes each, in 4 bits half a byte and 3 a grid."""
    kept, untouched = apply(llama, "cache:4g8"), apply(llama, "base")
    assert cache_bytes(untouched) == 2 * 32 * 2
    assert cache_bytes(kept) == 2 * (32 * 4 / 8 + 4 * 3)
    assert kept.bytes == untouched.bytes
    told = {claim.what: claim.ratio for claim in claims(kept)}
    assert told["keys and values of a token"] == 2 * (32 * 4 / 8 + 4 * 3) / 128
    assert told["file"] == 1
    assert "keys and values of a token" not in {claim.what for claim in claims(untouched)}


def test_it_comes_after_the_weights_and_is_packed_with_them(llama: Model, tmp_path: Path) -> None:
    setting = apply(llama, "rtn:4g16 + cache:3g8")
    form = setting.forms["layers.0.attention.k"]
    assert isinstance(form, Cached)
    assert isinstance(form.inner, Quantized)
    file = write_packed(tmp_path / "packed", llama, setting.forms, setting.storage)
    assert file.stat().st_size == setting.bytes
    again = load(tmp_path / "packed")
    assert torch.equal(answered(again.module, IDS), answered(setting.module, IDS))
    finer = apply(again, "cache:8g8").forms["layers.0.attention.k"]
    assert isinstance(finer, Cached)
    assert (finer.bits, type(finer.inner)) == (8, Quantized)  # it is told anew, not told twice


@pytest.mark.parametrize("text", ["cache:4g64", "rtn:4g64 + cache:3g32", "rotate + svd:0.5 + cache:8g64"])
def test_the_short_form_and_json_say_the_same(text: str) -> None:
    found = Recipe.parse(text)
    assert found.short() == text
    assert Recipe.parse(found.as_json()) == found
    assert Recipe.parse("cache:4").cache == Recipe.parse("cache:4g64").cache


@pytest.mark.parametrize(("text", "told"), [
    ("cache:1", "bits"), ("cache:9g64", "bits"), ("cache:4s", "Write cache:4g64"), ("cache:t4", "Write cache:4g64"),
    ("cache:g64", "Write cache:4g64"), ("cache:4 + cache:3", "Write cache:4g64"), ("cache:4g0", "group"),
    (json.dumps({"rules": [], "cache": {"bits": 4, "heads": 2}}), "heads")])  # fmt: skip
def test_what_makes_no_sense_is_one_line(text: str, told: str) -> None:
    with pytest.raises(ReparamError, match=told) as error:
        Recipe.parse(text)
    assert "\n" not in str(error.value)


def test_a_model_that_keeps_nothing_says_so(folder: Path) -> None:
    with pytest.raises(ReparamError, match="keeps no keys and values"):
        apply(load(folder / "bert"), "cache:4g64")
