"""Quality means what the field means by it: each figure against its definition, computed by others."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reparam_core import apply, base, load
from reparam_core.data import table
from reparam_core.measure.evaluation import Evaluation, evaluation
from reparam_core.measure.quality import (
    BLOCK,
    LEAST_BLOCKS,
    Quality,
    Scores,
    divergence,
    paired_interval,
    quality,
    quality_steps,
)
from reparam_core.models import Model


@pytest.fixture(scope="module")
def decoder() -> Model:
    return load("embedded-decoder")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A small random BERT that sorts reviews, with the shipped encoder's tokenizer."""
    tokenizer = load("embedded-encoder-pretrained").tokenizer
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128, initializer_range=0.5, id2label={0: "negative", 1: "positive"}, label2id={"negative": 0, "positive": 1},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("classifier")
    transformers.BertForSequenceClassification(config).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load(folder)


def some(setting: Scores, other: Scores, labels: tuple[str, ...] = (), majority: float | None = None) -> Quality:
    """A Quality of made-up scores."""
    return Quality(
        Evaluation("made", "answer", [], {}, "one answer a row", labels=labels, majority=majority), setting, other, 1
    )


def scores(loss: list[float], right: list[bool] | None = None, kept: tuple[Tensor, ...] = ()) -> Scores:
    answered = torch.tensor(right if right is not None else [True] * len(loss))
    return Scores(torch.tensor(loss), answered, answered.long(), torch.ones(len(answered), dtype=torch.int64), kept)


def test_the_loss_is_transformers_own(decoder: Model) -> None:
    asked = evaluation(decoder, "moby-dick", 3, 96)
    found = quality(apply(decoder, "svd:0.6 + rtn:6"), asked)
    module = apply(decoder, "svd:0.6 + rtn:6").module
    with torch.no_grad():
        ids = [probe.inputs["input_ids"] for probe in asked.probes]
        own = [float(module(input_ids=one, labels=one).loss) for one in ids]
        theirs = [float(decoder.module(input_ids=one, labels=one).loss) for one in ids]
        likeliest = torch.cat([decoder.module(one).logits[0, :-1].argmax(-1) == one[0, 1:] for one in ids])
    assert found.tokens == 3 * 95
    assert found.nll == pytest.approx(np.mean(own), rel=1e-5)
    assert found.base_nll == pytest.approx(np.mean(theirs), rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(np.mean(own)), rel=1e-4)
    assert found.base_accuracy == pytest.approx(float(likeliest.double().mean()))


def test_the_divergence_is_scipys(decoder: Model) -> None:
    asked, setting = evaluation(decoder, "moby-dick", 2, 64), apply(decoder, "rtn:3")
    with torch.no_grad():
        own, theirs = (
            torch.cat([module(**probe.inputs).logits[0, :-1] for probe in asked.probes]).double().softmax(-1).numpy()
            for module in (setting.module, decoder.module)
        )
    expected = scipy.stats.entropy(theirs, own, axis=1).mean()
    assert expected > 1e-3
    assert quality(setting, asked).kl_from_base == pytest.approx(expected, rel=0.01)


@given(st.integers(0, 2**32 - 1), st.floats(1e-4, 10), st.floats(0, 1))
def test_no_divergence_is_below_zero(seed: int, spread: float, apart: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(5, 40, generator=draw)
    other = logits + apart * torch.randn(5, 40, generator=draw)
    kept, theirs = (one.log_softmax(-1).half() for one in (logits, other))
    base, setting = scores([0.0], kept=(theirs,)), scores([0.0], kept=(kept,))
    found = replace(some(setting, base), divergence=divergence(base, setting)).kl_from_base
    assert found is not None
    assert found >= 0
    assert found == pytest.approx(
        float(torch.nn.functional.kl_div(logits.log_softmax(-1), other.log_softmax(-1), log_target=True, reduction="batchmean")),
        rel=0.02, abs=2e-3 * spread,
    )  # fmt: skip


def test_the_base_against_itself_differs_in_nothing(decoder: Model) -> None:
    found = quality(base(decoder), evaluation(decoder, "addresses", 3, 513))
    assert found.nll == found.base_nll
    assert (found.flips, found.kl_from_base, found.interval) == (0, 0, (0, 0))
    assert found.delta_accuracy_interval == (0, 0)


def test_it_grows_probe_by_probe_and_only_the_last_is_final(decoder: Model) -> None:
    asked, setting = evaluation(decoder, "addresses", 4, 64), apply(decoder, "magnitude:0.4")
    steps = list(quality_steps(setting, asked))
    assert [one.probes for one in steps] == [1, 2, 3, 4]
    assert [one.tokens for one in steps] == [63, 126, 189, 252]
    assert [one.final for one in steps] == [False, False, False, True]
    assert all(torch.equal(one.setting.loss, steps[-1].setting.loss[: one.tokens]) for one in steps)
    assert quality(setting, asked).nll == steps[-1].nll


def test_every_setting_is_compared_with_the_base_on_its_own_questions(decoder: Model) -> None:
    """The base's scores are remembered: another offset, length or text must not be answered with them."""
    for asked in (evaluation(decoder, "addresses", 1, 64, offset) for offset in (0, 64, 1)):
        found = quality(apply(decoder, "rtn:8"), asked)
        with torch.no_grad():
            ids = asked.probes[0].inputs["input_ids"]
            assert found.base_nll == pytest.approx(float(decoder.module(ids, labels=ids).loss), rel=1e-5)


def test_a_classifier_is_scored_as_transformers_and_sklearn_do(classifier: Model) -> None:
    asked = evaluation(classifier, "movie-reviews", 40)
    found = quality(base(classifier), asked)
    rows = [(probe.inputs, probe.targets[:, 0]) for probe in asked.probes]
    with torch.no_grad():
        answers = [classifier.module(**inputs, labels=labels) for inputs, labels in rows]
    chosen, true = torch.cat([one.logits.argmax(-1) for one in answers]), torch.cat([labels for _, labels in rows])
    weights = [len(labels) for _, labels in rows]
    assert 0 < chosen.float().mean() < 1  # it answers both, or the matrix would say little
    assert found.nll == pytest.approx(np.average([float(one.loss) for one in answers], weights=weights), rel=1e-5)
    assert found.confusion == sklearn.metrics.confusion_matrix(true, chosen).tolist()
    assert found.accuracy == sklearn.metrics.accuracy_score(true, chosen)
    assert asked.majority == max(np.bincount(true)) / 40


def test_choices_are_made_by_the_sum_of_log_probabilities(decoder: Model) -> None:
    """Each line alone, without padding and without batches."""
    rows = table("state-capitals").rows[:20]
    found = quality(base(decoder), evaluation(decoder, "state-capitals", 20))
    for index, row in enumerate(rows):
        totals = []
        for choice in row.choices:
            start, end = decoder.encode(row.text), decoder.encode(f" {choice}")
            with torch.no_grad():
                shares = decoder.module(torch.tensor([start + end])).logits[0].log_softmax(-1)
            totals.append(sum(float(shares[len(start) - 1 + i, token]) for i, token in enumerate(end)))
        assert int(found.setting.chosen[index]) == int(np.argmax(totals))
        expected = -scipy.special.log_softmax(totals)[row.choices.index(row.answer)]
        assert float(found.setting.loss[index]) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_an_answer_is_right_where_all_its_tokens_are() -> None:
    model = load("embedded-seq2seq")
    asked, setting = evaluation(model, "dates", 24), apply(model, "rtn:3")
    found = quality(setting, asked)
    assert found.answers == 24
    assert found.tokens == sum(asked.counts) > 24
    right = []
    for probe in asked.probes:
        with torch.no_grad():
            best = setting.module(**probe.inputs).logits.argmax(-1)
        right += [bool((row == target)[target != -100].all()) for row, target in zip(best, probe.targets, strict=True)]
    assert found.setting.right.tolist() == right
    assert found.interval is None  # 24 answers, but far fewer than 16 blocks of 64 tokens: tokens are no answers
    assert found.accuracy_interval is not None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_a_flip_was_right_and_is_wrong(pairs: list[tuple[bool, bool]]) -> None:
    own, theirs = ([pair[i] for pair in pairs] for i in (0, 1))
    found = some(scores([0.0] * len(pairs), own), scores([0.0] * len(pairs), theirs))
    assert found.flips == pytest.approx(sum(b and not a for a, b in pairs) / len(pairs))
    assert found.accuracy - found.base_accuracy == pytest.approx(
        sum(a and not b for a, b in pairs) / len(pairs) - found.flips
    )


SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda draw, n: draw.normal(0.1, 1, n),
    "skewed": lambda draw, n: draw.exponential(1, n),
    "rare": lambda draw, n: (draw.random(n) < 0.01) * 10.0,
    "trend": lambda draw, n: np.linspace(-1, 1, n) + draw.normal(0, 0.1, n),
}


@given(st.sampled_from(list(SHAPES)), st.integers(0, 1000), st.integers(16 * BLOCK, 40 * BLOCK))
def test_an_interval_covers_the_mean_it_belongs_to(shape: str, seed: int, count: int) -> None:
    values = torch.from_numpy(SHAPES[shape](np.random.default_rng(seed), count))
    found = paired_interval(values)
    assert found is not None
    assert found[0] <= float(values.mean()) + 1e-12
    assert found[1] >= float(values.mean()) - 1e-12
    assert paired_interval(values) == found


@pytest.mark.parametrize("shape", SHAPES)
def test_an_interval_agrees_with_scipys_bootstrap_of_the_blocks(shape: str) -> None:
    values = SHAPES[shape](np.random.default_rng(3), 64 * BLOCK)
    found, blocks = paired_interval(torch.from_numpy(values)), values.reshape(-1, BLOCK).mean(1)
    expected = scipy.stats.bootstrap(
        (blocks,), np.mean, method="percentile", rng=1, n_resamples=4000
    ).confidence_interval
    assert found is not None
    width = expected.high - expected.low
    assert found == pytest.approx((expected.low, expected.high), abs=0.1 * width)


@pytest.mark.parametrize(("count", "block"), [(LEAST_BLOCKS * BLOCK - 1, BLOCK), (LEAST_BLOCKS - 1, 1), (0, 1)])
def test_fewer_than_sixteen_blocks_have_no_interval(count: int, block: int) -> None:
    assert paired_interval(torch.ones(count), block) is None
    assert paired_interval(torch.ones((LEAST_BLOCKS) * block), block) == (1, 1)


def test_neighbours_are_drawn_together() -> None:
    """Values that repeat within a block say less than as many of their own: the interval is wider."""
    alone = torch.randn(64 * BLOCK, generator=torch.Generator().manual_seed(0))
    repeated = alone[:64].repeat_interleave(BLOCK)
    wide, narrow = paired_interval(repeated), paired_interval(alone)
    assert wide is not None
    assert narrow is not None
    assert wide[1] - wide[0] > 4 * (narrow[1] - narrow[0])


def test_masked_words_are_scored_where_they_are_hidden() -> None:
    model = load("embedded-encoder-pretrained")
    asked = evaluation(model, "reviews", 2, 96)
    found = quality(base(model), asked)
    losses = []
    for probe in asked.probes:
        with torch.no_grad():
            logits = model.module(**probe.inputs).prediction_logits
        losses.append(
            torch.nn.functional.cross_entropy(logits[0], probe.targets[0], ignore_index=-100, reduction="sum")
        )
    assert found.nll == pytest.approx(float(sum(losses)) / found.tokens, rel=1e-5)
    assert found.base_accuracy > 0.1


def test_perplexity_is_infinite_rather_than_an_error() -> None:
    assert some(scores([800.0]), scores([1.0])).perplexity == math.inf
