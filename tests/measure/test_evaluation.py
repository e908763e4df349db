"""What a model is asked: the right positions, always the same ones, and nothing that its objective cannot answer."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from reparam_core import load
from reparam_core.data import IGNORED, table, text
from reparam_core.errors import ReparamError
from reparam_core.measure.evaluation import TOKENS, asked, default_source, evaluation
from reparam_core.models import Model


@pytest.fixture(scope="module")
def decoder() -> Model:
    return load("embedded-decoder")


@pytest.fixture(scope="module")
def encoder() -> Model:
    return load("embedded-encoder-pretrained")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, decoder: Model) -> Model:
    """A random GPT-2 with few positions and the shipped decoder's tokenizer, which knows no limit."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("gpt2")
    config = transformers.GPT2Config(
        vocab_size=decoder.config.vocab_size, n_embd=16, n_layer=1, n_head=2, n_positions=24
    )
    transformers.GPT2LMHeadModel(config).half().save_pretrained(folder)
    decoder.tokenizer.save_pretrained(folder)
    return load(folder)


def test_every_position_but_the_first_is_scored(decoder: Model) -> None:
    found = evaluation(decoder, "moby-dick", 3, 50, 7)
    assert found.counts == [49, 49, 49]
    for probe in found.probes:
        assert torch.equal(probe.targets, probe.inputs["input_ids"][:, 1:])
    expected = decoder.encode(text("moby-dick").content[:2000])[7:157]
    assert found.tokens is not None
    assert found.tokens.reshape(-1).tolist() == expected


def test_hidden_positions_are_the_same_ones_however_much_is_asked(encoder: Model) -> None:
    few, many = (evaluation(encoder, "reviews", count, 128) for count in (2, 5))
    for one, other in zip(few.probes, many.probes, strict=False):
        assert torch.equal(one.targets, other.targets)
        assert torch.equal(one.inputs["input_ids"], other.inputs["input_ids"])
    elsewhere = evaluation(encoder, "reviews", 2, 128, 128)
    assert torch.equal(few.probes[0].targets == IGNORED, elsewhere.probes[0].targets == IGNORED)


def test_fifteen_per_cent_are_hidden_and_nothing_else_is_changed(encoder: Model) -> None:
    found = evaluation(encoder, "reviews", 8, 512)
    hidden = torch.cat([probe.targets != IGNORED for probe in found.probes])
    seen = torch.cat([probe.inputs["input_ids"] for probe in found.probes])
    true = found.tokens
    assert true is not None
    assert float(hidden.double().mean()) == pytest.approx(0.15, abs=0.015)
    assert (seen[hidden] == encoder.tokenizer.mask_token_id).all()
    assert torch.equal(seen[~hidden], true[~hidden])
    assert torch.equal(torch.cat([probe.targets for probe in found.probes])[hidden], true[hidden])
    assert found.bytes is None  # a pseudo-likelihood is no code length


@pytest.mark.parametrize("length", [2, 3, 8])
def test_the_shortest_masked_sequence_still_asks_something(encoder: Model, length: int) -> None:
    assert min(evaluation(encoder, "reviews", 6, length).counts) >= 1


def test_answers_of_an_encoder_decoder_are_written_behind_the_start() -> None:
    model = load("embedded-seq2seq")
    found = evaluation(model, "dates", 20)
    written = torch.cat([probe.targets[:, :11] for probe in found.probes[:1]])
    for row, answer in zip(found.probes[0].targets, table("dates").rows, strict=False):
        assert model.tokenizer.decode(row[row != IGNORED], skip_special_tokens=True) == answer.answer
    starts = found.probes[0].inputs["decoder_input_ids"]
    assert (starts[:, 0] == model.config.decoder_start_token_id).all()
    assert torch.equal(starts[:, 1:][written[:, :-1] != IGNORED], written[:, :-1][written[:, :-1] != IGNORED])
    assert sum(len(probe.targets) for probe in found.probes) == 20


def test_candidates_are_scored_behind_the_text_and_nowhere_else(decoder: Model) -> None:
    found, rows = evaluation(decoder, "last-words", 5), table("last-words").rows[:5]
    assert [count for probe in found.probes for count in probe.choices] == [4] * 5
    lines = (
        (one, target)
        for probe in found.probes
        for one, target in zip(probe.inputs["input_ids"], probe.targets, strict=True)
    )
    for row, answer in zip(rows, [one for probe in found.probes for one in probe.answers], strict=True):
        assert row.choices[answer] == row.answer
        for choice in row.choices:
            _, targets = next(lines)
            assert decoder.tokenizer.decode(targets[targets != IGNORED]) == f" {choice}"


def test_no_pass_over_a_table_holds_more_than_a_few_hundred_tokens_with_their_padding(decoder: Model) -> None:
    for model, source in ((decoder, "last-words"), (load("embedded-encoder"), "movie-reviews")):
        probes = evaluation(model, source, 200).probes
        sizes = [probe.inputs["input_ids"].numel() for probe in probes]
        assert all(size <= TOKENS or len(probe.choices) == 1 for probe, size in zip(probes, sizes, strict=True))
        assert np.mean(sizes) > TOKENS / 4


def test_a_review_is_asked_about() -> None:
    good, capital = table("movie-reviews").rows[0], table("state-capitals").rows[0]
    assert asked(good) == f"{good.text}\nThis review is"
    assert asked(capital) == capital.text


def test_nothing_is_longer_than_the_models_positions(small: Model, tmp_path: Path) -> None:
    long = tmp_path / "long.csv"
    rows = [f"{'the people of the United States ' * 30} are,{label}" for label in ("free", "bound", "free")]
    long.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    (probe,) = evaluation(small, str(long)).probes
    assert probe.inputs["input_ids"].shape[1] == 24
    assert small.module(**probe.inputs).logits.isfinite().all()
    kept = probe.targets[0][probe.targets[0] != IGNORED]
    assert small.tokenizer.decode(kept) == " bound"
    np.save(tmp_path / "ids.npy", np.zeros((2, 99), int))
    found = evaluation(small, str(tmp_path / "ids.npy"), 2, 99)
    assert [probe.inputs["input_ids"].shape for probe in found.probes] == [(1, 24)] * 2
    assert found.notes == ("length 99 is above the model's 24 positions: 24 used",)


def test_a_table_that_is_cut_says_so(decoder: Model) -> None:
    whole, cut = evaluation(decoder, "state-capitals", 50), evaluation(decoder, "state-capitals", 10)
    assert whole.notes == ()
    assert cut.notes == (
        "the first 10 of 50 rows are scored",
        "10 rows are scored: from fewer than 16 no interval can be told",
    )
    assert cut.provenance["sequences"] == 10
    assert whole.key != cut.key


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("embedded-decoder", "dates", "more than 20 different answers"),
        ("embedded-decoder", "nowhere", "no text or table 'nowhere'. Known: addresses, .*, state-capitals; or a file"),
        ("embedded-seq2seq", "nowhere", "no table 'nowhere'. Known: .*dates; or a file"),
        ("embedded-encoder", "nowhere", "no table 'nowhere'. Known: movie-reviews; or a file"),
        (
            "embedded-encoder-pretrained",
            "nowhere",
            "no text 'nowhere'. Known: addresses, .*, dates-train; or a file",
        ),
        ("embedded-seq2seq", "addresses", "running text, which a seq2seq model"),
        ("embedded-encoder-pretrained", "movie-reviews", "labelled table, which a masked model"),
    ],
)
def test_what_cannot_be_answered_is_refused(name: str, source: str, told: str) -> None:
    with pytest.raises(ReparamError, match=told):
        evaluation(load(name), source, 2, 16)


@pytest.mark.parametrize(("name", "source", "told"), [
    ("embedded-decoder", "addresses", "sequences of 48, every position but the first scored"),
    ("embedded-encoder-pretrained", "reviews", "sequences of 48, 15% of the positions masked and scored"),
    ("embedded-seq2seq", "dates", "one answer a row")])  # fmt: skip
def test_it_says_what_is_scored(name: str, source: str, told: str) -> None:
    assert evaluation(load(name), source, 2, 48).convention == told


def test_a_model_without_a_head_is_asked_nothing(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.BertModel(config).half().save_pretrained(tmp_path)
    with pytest.raises(ReparamError, match="has no head"):
        evaluation(load(tmp_path), "addresses", 2, 16)


def test_each_objective_has_a_source_that_it_can_be_asked(decoder: Model, encoder: Model) -> None:
    for model in (decoder, encoder, load("embedded-seq2seq")):
        assert evaluation(model, default_source(model), 2, 32).probes


def test_evaluations_differ_where_what_is_asked_differs(decoder: Model) -> None:
    every = [evaluation(decoder, source, count, length, offset) for source, count, length, offset in (
        ("addresses", 1, 64, 0), ("addresses", 2, 64, 0), ("addresses", 1, 65, 0), ("addresses", 1, 64, 1),
        ("moby-dick", 1, 64, 0))]  # fmt: skip
    assert len({one.key for one in every}) == len(every)
    assert every[0].key == evaluation(decoder, "addresses", 1, 64, 0).key
