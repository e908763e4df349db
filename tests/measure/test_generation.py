"""What a setting says to a prompt: as transformers decodes it, the same for the same seed, one line for a mistake."""

import re
from itertools import pairwise
from typing import Any

import pytest
import torch
import transformers

from reparam_core import apply, base, load
from reparam_core.errors import ReparamError
from reparam_core.measure.generation import prompt_ids, said
from reparam_core.models import Model

PROMPT = "The people of the United States"


@pytest.fixture(scope="module")
def decoder() -> Model:
    return load("embedded-decoder")


@pytest.fixture(scope="module")
def encoder() -> Model:
    return load("embedded-encoder-pretrained")


def test_greedy_text_is_what_transformers_generates(decoder: Model) -> None:
    setting = apply(decoder, "rtn:5")
    steps = list(said(setting, PROMPT, tokens=12))
    ids = torch.tensor([decoder.encode(PROMPT)])
    module: Any = setting.module
    with torch.no_grad():
        whole = module.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert steps[-1] == decoder.tokenizer.decode(whole, skip_special_tokens=True)
    assert len(steps) == 12
    assert all(later.startswith(earlier.rstrip("�")) for earlier, later in pairwise(steps))


def test_the_same_seed_says_the_same_and_another_does_not(decoder: Model) -> None:
    one, again, other = (list(said(base(decoder), PROMPT, 16, 1.0, seed))[-1] for seed in (1, 1, 2))
    assert one == again != other


def test_sampling_leaves_the_seed_of_others_alone(decoder: Model) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    list(said(base(decoder), PROMPT, 3, 1.0, 0))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("written", "iso"), [("the fourth of March, 1861", "1861-03-04"), ("May 15, 1728", "1728-05-15")]
)
def test_the_date_reader_answers_with_a_date(written: str, iso: str) -> None:
    assert list(said(base(load("embedded-seq2seq")), written))[-1] == iso


def test_the_words_behind_a_mask_are_those_of_transformers_own_pipeline(encoder: Model) -> None:
    masked = transformers.BertForMaskedLM(encoder.config).eval()
    masked.load_state_dict(encoder.module.state_dict(), strict=False)
    fill = transformers.pipeline("fill-mask", model=masked, tokenizer=encoder.tokenizer)
    text = "a film with a very [MASK] story."
    (told,) = said(base(encoder), text)
    expected = fill(text, top_k=5)
    assert told == f"{text} → " + " · ".join(f"{one['token_str']} {one['score']:.1%}" for one in expected)


@pytest.mark.parametrize(("prompt", "asked"), [("a very good film.", "a very good [MASK]."), ("film", " [MASK].")])
def test_without_a_mask_the_last_word_is_guessed(encoder: Model, prompt: str, asked: str) -> None:
    (told,) = said(base(encoder), prompt)
    assert told.startswith(f"{asked} → ")


def test_a_classifier_tells_each_class_and_its_share(tmp_path_factory: pytest.TempPathFactory, encoder: Model) -> None:
    config = transformers.BertConfig(vocab_size=len(encoder.tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                     num_attention_heads=2, id2label={0: "bad", 1: "so-so", 2: "good"})  # fmt: skip
    folder = tmp_path_factory.mktemp("classes")
    transformers.BertForSequenceClassification(config).half().save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    model = load(folder)
    (told,) = said(base(model), "a very good film")
    shares = {name: float(share) for name, share in re.findall(r"([\w-]+) ([\d.]+)%", told)}
    with torch.no_grad():
        logits = model.module(**model.tokenizer("a very good film", return_tensors="pt")).logits[0]
    expected = {
        name: 100 * float(share) for name, share in zip(("bad", "so-so", "good"), logits.softmax(-1), strict=True)
    }
    assert shares == pytest.approx(expected, abs=0.06)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_a_long_prompt_is_cut_at_its_beginning(decoder: Model) -> None:
    ids = prompt_ids(decoder, "word " * 3000 + PROMPT)
    assert ids.shape[1] <= 512
    assert decoder.tokenizer.decode(ids[0]).endswith(PROMPT)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_one_line(decoder: Model, prompt: str) -> None:
    with pytest.raises(ReparamError, match="prompt is empty"):
        next(said(base(decoder), prompt))


def test_a_mask_beyond_what_is_read_is_one_line(encoder: Model) -> None:
    with pytest.raises(ReparamError, match="Write a shorter prompt"):
        next(said(base(encoder), "word " * 2000))
