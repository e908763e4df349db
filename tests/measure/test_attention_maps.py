"""Attention maps: what entropy and divergence mean, whose weights they are, and how they become small pictures."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reparam_core import ReparamError, apply, base, load
from reparam_core.measure.attention import (
    LONGEST,
    TILE,
    Maps,
    attention,
    attention_report,
    colour_limit,
    compare,
    divergence,
    entropies,
    entropy,
    habit,
    heads_of,
    is_causal,  # fmt: skip
    spread,
    thumbnails,
    visible_keys,
)
from reparam_core.models import Model

TEXT = "The President sent a message to the Congress, and the Congress sent an answer."
DATE = "the fourth of March, 1861"


@pytest.fixture(scope="module")
def decoder() -> Model:
    return load("embedded-decoder")


@pytest.fixture(scope="module")
def dates() -> Model:
    return load("embedded-seq2seq")


def rows(*shape: int, seed: int = 0) -> Tensor:
    """Random distributions over the last axis, sharp and wide ones."""
    return (4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).softmax(-1)


@given(keys=st.integers(1, 300))
def test_looking_at_n_keys_alike_is_log2_n_bits(keys: int) -> None:
    uniform = torch.full((1, 1, 5, keys), 1 / keys)
    assert entropy(uniform).item() == pytest.approx(math.log2(keys), abs=1e-4)
    assert spread(entropies(uniform), torch.ones(5, keys, dtype=torch.bool)).item() == pytest.approx(
        float(keys > 1), abs=1e-4
    )


def test_looking_at_one_key_is_no_bits() -> None:
    assert entropy(torch.eye(7)[None, None]).item() == 0


@given(seed=st.integers(0, 10_000), keys=st.integers(2, 40))
@settings(deadline=None)
def test_divergence_is_symmetric_and_between_nothing_and_one_bit(seed: int, keys: int) -> None:
    one, other = rows(2, 3, 4, keys, seed=seed), rows(2, 3, 4, keys, seed=seed + 1)
    moved = divergence(one, other)
    assert moved.shape == (2, 3)
    assert torch.allclose(moved, divergence(other, one), atol=1e-6)
    assert bool(((moved > 1e-6) & (moved <= 1)).all())
    assert divergence(one, one).abs().max() < 1e-6


def test_disjoint_rows_are_one_bit_apart() -> None:
    assert divergence(torch.eye(4)[None, None], torch.eye(4).roll(1, 0)[None, None]).item() == pytest.approx(1)


@given(seed=st.integers(0, 10_000))
@settings(deadline=None)
def test_divergence_is_the_mean_relative_entropy_to_the_middle(seed: int) -> None:
    one, other = rows(1, 1, 3, 9, seed=seed).double(), rows(1, 1, 3, 9, seed=seed + 1).double()
    middle = (one + other) / 2
    by_definition = ((one * (one / middle).log2() + other * (other / middle).log2()) / 2).sum(-1).mean()
    assert divergence(one, other).item() == pytest.approx(by_definition.item(), abs=1e-5)


def test_the_spread_leaves_out_a_query_without_a_choice() -> None:
    past = torch.ones(4, 4).tril()
    widest = (past / past.sum(-1, keepdim=True))[None, None]
    assert spread(entropies(widest), past.bool()).item() == pytest.approx(1)
    assert entropy(widest).item() < math.log2(4)
    alone = torch.ones(1, 1, 1, 1)
    assert spread(entropies(alone), torch.ones(1, 1, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize(
    ("name", "text"), [("embedded-decoder", TEXT), ("embedded-seq2seq", DATE), ("minilm-l6", TEXT)]
)
def test_the_maps_are_those_of_transformers_own_eager_attention(name: str, text: str) -> None:
    model = load(name)
    maps = attention(base(model), text)
    kind = type(model.module)
    if not kind.__module__.startswith("transformers."):
        kind = transformers.AutoModel
    plain = kind.from_pretrained(model.directory, dtype=torch.float32, attn_implementation="eager").eval()
    ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
    more = {} if maps.written is None else {"decoder_input_ids": maps.written}
    with torch.no_grad():
        found = plain(input_ids=ids, output_attentions=True, **more)
    given = {"self-attention": "attentions", "encoder self-attention": "encoder_attentions",
             "decoder self-attention": "decoder_attentions", "cross-attention": "cross_attentions"}  # fmt: skip
    for name_of_kind, one in maps.maps.items():
        assert torch.allclose(one, torch.stack(found[given[name_of_kind]])[:, 0], atol=2e-3), name_of_kind
        assert torch.allclose(one.sum(-1), torch.ones(one.shape[:-1]), atol=1e-6)


def test_the_first_layer_is_the_softmax_of_q_and_k_by_hand(decoder: Model) -> None:
    """Queries and keys by the weights, turned by their positions, grouped, scaled, masked: the formula on the page."""
    maps = attention(base(decoder), TEXT).maps["self-attention"][0]
    heads = heads_of(decoder, "self-attention")
    ids = decoder.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    body, first = decoder.module.model, decoder.module.model.layers[0]
    x = first.input_layernorm(body.embed_tokens(ids))[0]
    q = (x @ decoder.weight("layers.0.attention.q").T).reshape(len(x), heads.count, heads.width)
    k = (x @ decoder.weight("layers.0.attention.k").T).reshape(len(x), heads.key_value_count, heads.width)
    frequencies = decoder.config.rope_parameters["rope_theta"] ** -(torch.arange(0, heads.width, 2) / heads.width)
    angles = torch.outer(torch.arange(len(x)).float(), frequencies).repeat(1, 2)[:, None]

    def turned(v: Tensor) -> Tensor:
        left, right = v.chunk(2, -1)
        return v * angles.cos() + torch.cat([-right, left], -1) * angles.sin()

    shared = turned(k).repeat_interleave(heads.count // heads.key_value_count, 1)
    scores = torch.einsum("qhd,khd->hqk", turned(q), shared) / math.sqrt(heads.width)
    ahead = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
    assert torch.allclose(maps, scores.masked_fill(ahead, -torch.inf).softmax(-1), atol=1e-4)


def test_what_a_model_sees(decoder: Model, dates: Model) -> None:
    seen = {kind: is_causal(visible_keys(maps)) for kind, maps in attention(base(dates), DATE).maps.items()}
    assert seen == {"encoder self-attention": False, "decoder self-attention": True, "cross-attention": False}
    maps = attention(base(decoder), TEXT).maps["self-attention"]
    assert torch.equal(maps, maps.tril())
    assert torch.equal(visible_keys(maps), torch.ones(maps.shape[-2:]).tril().bool())


def test_before_and_after_read_the_same_tokens_also_where_the_setting_would_answer_otherwise(dates: Model) -> None:
    ruined = apply(dates, "svd:0.05")
    report = attention_report(ruined, DATE)
    own = attention(ruined, DATE)
    assert set(report) == {"model", "recipe", "prompt", "attention"}
    for kind, one in report["attention"].items():
        assert set(one) == {"queries", "keys", "maps", "entropy_bits", "divergence_bits"}
        assert 0 < torch.tensor(one["divergence_bits"]).mean() <= 1, kind
    assert report["attention"]["cross-attention"]["queries"] != own.queries["cross-attention"]


def test_the_base_does_not_move(decoder: Model) -> None:
    (one,) = attention_report(base(decoder), TEXT)["attention"].values()
    assert torch.tensor(one["divergence_bits"]).abs().max() < 1e-6


def test_less_rank_moves_more(decoder: Model) -> None:
    moved = [torch.tensor(attention_report(apply(decoder, recipe), TEXT)["attention"]["self-attention"]["divergence_bits"]).mean()
             for recipe in ("svd:0.5", "svd:0.2", "svd:0.05")]  # fmt: skip
    assert moved == sorted(moved)


def test_long_prompts_are_cut_and_say_so(decoder: Model) -> None:
    maps = attention(base(decoder), TEXT * 40)
    assert maps.maps["self-attention"].shape[-1] == LONGEST
    assert maps.left_out == len(decoder.tokenizer(TEXT * 40)["input_ids"]) - LONGEST


def test_a_cut_prompt_keeps_the_encoder_s_last_token() -> None:
    encoder = load("embedded-encoder-pretrained")
    assert attention(base(encoder), TEXT * 40).keys["self-attention"][-1] == "[SEP]"


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_one_clear_line(decoder: Model, prompt: str) -> None:
    with pytest.raises(ReparamError, match="The prompt is empty"):
        attention(base(decoder), prompt)


def test_the_letters_of_the_formula(decoder: Model, dates: Model) -> None:
    llama, t5 = heads_of(decoder, "self-attention"), heads_of(dates, "cross-attention")
    assert (llama.count, llama.key_value_count, llama.width, llama.scaled, llama.rotary) == (8, 4, 32, True, True)
    assert (t5.scaling, t5.scaled, t5.position_bias, t5.rotary) == (1.0, False, False, False)
    assert heads_of(dates, "encoder self-attention").position_bias


SMALL = {"vocab_size": 4096, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 5}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config", "windows"),
    [
        (transformers.MistralForCausalLM, transformers.MistralConfig(**SMALL), (5, 5, 5)),
        (transformers.Gemma3ForCausalLM, transformers.Gemma3TextConfig(
            **SMALL, layer_types=["sliding_attention", "full_attention", "sliding_attention"]), (5, None, 5)),
    ],
    ids=["mistral", "gemma3"],
)  # fmt: skip
def test_a_window_hides_what_lies_further_back(
    kind: Any, config: Any, windows: tuple[int | None, ...], tmp_path: Path, decoder: Model
) -> None:
    torch.manual_seed(0)
    kind(config).half().save_pretrained(tmp_path / "windowed")
    model = load(tmp_path / "windowed")
    model.tokenizer = decoder.tokenizer
    maps = attention(base(model), TEXT)
    change = compare(maps, maps)["self-attention"]
    assert change.windows == windows
    for layer, window in enumerate(windows):
        weights, seen = change.after[layer], change.seen(layer)
        assert bool((weights[:, ~seen] == 0).all())
        assert bool((weights[:, seen] > 0).all())
        assert int(seen.sum(-1).max()) == (window or len(seen))
        assert torch.equal(change.thumbnails["after"][layer] > 0, seen.expand(4, *seen.shape)), "hidden is left blank"
    widest = replace(maps, maps={"self-attention": torch.stack([change.seen(one) / change.seen(one).sum(-1, keepdim=True)
                                                                for one in range(3)])[:, None]})  # fmt: skip
    assert torch.allclose(compare(widest, widest)["self-attention"].spread["after"], torch.ones(3, 1), atol=1e-5)


def test_layers_without_a_window_name_none(decoder: Model) -> None:
    assert attention(base(decoder), TEXT).windows == ()


def test_a_head_s_habit_is_found() -> None:
    assert habit(torch.eye(6), causal=False) == ("the token itself", 1)
    before = torch.eye(6).roll(1, 0)
    before[0] = torch.eye(6)[0]
    assert habit(before, causal=True) == ("the token before", 1)
    sink = torch.zeros(6, 6)
    sink[:, 0] = 1
    assert habit(sink, causal=True) == ("the first token", 1)
    assert habit(torch.ones(1, 1), causal=True)[1] == 1
    assert habit(torch.ones(1, 5) / 5, causal=False) == ("the first token", 0.0)


def causal(maps: Tensor) -> Maps:
    kept = maps.tril()
    tokens = [str(index) for index in range(maps.shape[-1])]
    return Maps(
        {"self-attention": kept / kept.sum(-1, keepdim=True)}, {"self-attention": tokens}, {"self-attention": tokens}
    )


@given(side=st.integers(2, 150), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_thumbnails_hold_every_head_in_bytes(side: int, seed: int) -> None:
    before, after = causal(rows(2, 3, side, side, seed=seed)), causal(rows(2, 3, side, side, seed=seed + 1))
    change = compare(before, after)["self-attention"]
    width = min(side, TILE)
    for view, tiles in change.thumbnails.items():
        assert (tuple(tiles.shape), tiles.dtype) == ((2, 3, width, width), torch.uint8), view
        if side <= TILE:
            assert torch.equal(tiles > 0, change.visible.expand(2, 3, side, side)), "0 is what is masked, and only that"
    shown = change.thumbnails["difference"].int() - 128
    assert shown[shown > -128].abs().max() == 127, "the largest difference of all heads is the end of the scale"


def test_thumbnails_of_the_same_are_the_same_and_do_not_move() -> None:
    maps = rows(2, 2, 8, 8)
    pictures = thumbnails(maps, maps, [torch.ones(8, 8, dtype=torch.bool)] * 2)
    assert torch.equal(pictures["before"], pictures["after"])
    assert bool((pictures["difference"] == 128).all())


def test_half_precision_keeps_three_digits() -> None:
    change, halved = (compare(one, other)["self-attention"] for one, other in
                      ((causal(rows(2, 3, 40, 40)), causal(rows(2, 3, 40, 40, seed=1))),
                       (causal(rows(2, 3, 40, 40)).halved(), causal(rows(2, 3, 40, 40, seed=1)).halved())))  # fmt: skip
    assert torch.allclose(change.divergence, halved.divergence, atol=1e-3)
    assert torch.allclose(change.entropy["after"], halved.entropy["after"], atol=1e-2)


def test_colours_end_where_one_weight_in_two_hundred_is_larger() -> None:
    assert colour_limit(torch.arange(1001.0)).item() == pytest.approx(995)
    assert colour_limit(torch.zeros(3, 10)).tolist() == pytest.approx([1e-6] * 3)
