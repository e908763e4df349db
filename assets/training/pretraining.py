"""Train `embedded-encoder-pretrained`: MiniLM cut to smaller widths, then masked words and next sentences.

python -m assets.training.pretraining [--steps 1500] [--threads 2] [--checkpoint FILE]
"""

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import BertForPreTraining, BertModel, BertTokenizerFast

from assets.training.common import (
    MODELS,
    Optimizers,
    TrainingLog,
    keep,
    matrices_and_rest,
    read_addresses,
    read_table,
    read_text,
    replace_folder,
    resume,
    seed_everything,
    warm_up_then_linear,
    write_card,
    write_model,
)
from assets.training.minilm import load_minilm, minilm_folder
from assets.training.shrink import Widths, cut_vocabulary, shrink

NAME = "embedded-encoder-pretrained"
AT_LEAST = 8  # times a wordpiece occurs in the training texts, to be kept
SHAPES = ((32, 96), (32, 96), (128, 24), (32, 96), (128, 24), (512, 6))  # (tokens, rows) of the steps, in turn
MASKED_SHARE = 0.15
GUIDED_SHARE = 0.7  # of the steps, with MiniLM's own states as a further target
WARM_UP = 40
MUON_RATE, ADAM_RATE = 0.005, 1e-3
REPORT_EVERY = 100
IGNORED = -100
BODY = """
An encoder of BERT architecture (6 layers, width 192, 12 heads) with both heads of pretraining: the masked word, whose
matrix is the embedding, and the next sentence. Weights are float16. It begins as all-MiniLM-L6-v2 cut to half its
widths (`assets/training/shrink.py`: principal directions of the states, singular vectors of the heads, the busiest
neurons) and to the wordpieces that occur in the data, and is then trained on both tasks; over the first 70 % of the
steps MiniLM's states in the common basis are a further target.

- **Data**: the sentences of reviews (training split and undecided), tweets, editorials and product reviews, the State
  of the Union addresses (training split) and Moby Dick, all in `assets/data`. No held-out sentence or address.
- **Licence**: texts public domain or MIT (see `assets/data/README.md`); MiniLM Apache-2.0 by its authors; the weights
  carry this repository's licence, with MiniLM's notice.
- **Recipe**: pairs of segments, half of them really adjacent; 15 % of the wordpieces masked (80 % by the mask, 10 % by
  another, 10 % kept); about 3,000 wordpieces a step in rows of 32, 128 or 512; bfloat16 autocast, Muon for the
  matrices, AdamW for the rest, linear decay.
- **Made by**: `python -m assets.training.pretraining`
- **Measured**: held-out review sentences and held-out addresses, masked and paired once for all.
- **Baselines**: for the masked word the commonest wordpiece, for the next sentence 0.5, and the cut model untrained.
"""


@dataclass(frozen=True)
class Corpora:
    """Token ids of whole documents: short ones are sentences, long ones running text."""

    sentences: list[list[int]]
    running: list[list[int]]


@dataclass(frozen=True)
class Batch:
    """Pairs with some wordpieces hidden, and what is to be said of them."""

    inputs: dict[str, Tensor]
    words: Tensor  # (B, T), IGNORED where not hidden
    adjacent: Tensor  # (B,), 0 where the second segment really follows, as BERT has it


def training_texts() -> tuple[list[str], list[str]]:
    """Sentences and running texts; nothing of a held-out split."""
    tables = ("movie_reviews", "tweets", "editorials", "product_reviews")
    rows = [row for name in tables for row in read_table(f"{name}.csv.xz") if row["split"] != "held_out"]
    novel = read_text("moby_dick.txt.xz").split("\n\n")
    chapters = ["\n".join(novel[start : start + 40]) for start in range(0, len(novel), 40)]
    return [row["text"] for row in rows], [*read_addresses("train"), *chapters]


def held_out_texts() -> tuple[list[str], list[str]]:
    return [row["text"] for row in read_table("movie_reviews.csv.xz", "held_out")], read_addresses("held_out")


def tokenized(tokenizer: BertTokenizerFast, texts: tuple[list[str], list[str]]) -> Corpora:
    sentences, running = (tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"] for part in texts)
    return Corpora([ids for ids in sentences if len(ids) >= 6], [ids for ids in running if len(ids) >= 64])


def cut_in_two(document: list[int], room: int, draw: random.Random) -> tuple[list[int], list[int]]:
    """Two adjacent segments that fit into the room together, from a random place of the document."""
    start = draw.randrange(max(1, len(document) - room + 1))
    window = document[start : start + room]
    place = draw.randint(len(window) // 3, 2 * len(window) // 3)
    return window[:place], window[place:]


def pair(documents: list[list[int]], weights: list[int], length: int, draw: random.Random) -> tuple[list[int], ...]:
    """First segment, second segment, and whether the second comes from elsewhere."""
    one, other = draw.choices(documents, cum_weights=weights, k=2)
    first, second = cut_in_two(one, length - 3, draw)
    if draw.random() < 0.5:
        return first, second, [0]
    return first, cut_in_two(other, length - 3, draw)[1][: length - 3 - len(first)], [1]


def joined(tokenizer: BertTokenizerFast, rows: list[tuple[list[int], ...]]) -> tuple[dict[str, Tensor], Tensor]:
    """[CLS] first [SEP] second [SEP], padded."""
    begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    lines = [[begin, *first, end, *second, end] for first, second, _ in rows]
    types = [[0] * (len(first) + 2) + [1] * (len(second) + 1) for first, second, _ in rows]
    longest = max(map(len, lines))
    padded = {
        "input_ids": [line + [0] * (longest - len(line)) for line in lines],
        "token_type_ids": [kind + [0] * (longest - len(kind)) for kind in types],
        "attention_mask": [[1] * len(line) + [0] * (longest - len(line)) for line in lines],
    }
    return {name: torch.tensor(value) for name, value in padded.items()}, torch.tensor([row[2][0] for row in rows])


def hide(ids: Tensor, tokenizer: BertTokenizerFast, vocabulary: int, seed: int) -> tuple[Tensor, Tensor]:
    """15 % of the words: the ids to read, and the words to say (IGNORED elsewhere)."""
    generator = torch.Generator().manual_seed(seed)
    chance, way = torch.rand(2, *ids.shape, generator=generator)
    hidden = (chance < MASKED_SHARE) & (ids > tokenizer.mask_token_id)  # the special ones come first
    others = torch.randint(tokenizer.mask_token_id + 1, vocabulary, ids.shape, generator=generator)
    seen = torch.where(hidden & (way < 0.8), tokenizer.mask_token_id, ids)
    seen = torch.where(hidden & (way >= 0.9), others, seen)
    return seen, ids.masked_fill(~hidden, IGNORED)


class Pairs:
    """Batches that depend on the step alone, so that a resumed run sees what an unbroken one sees."""

    def __init__(self, tokenizer: BertTokenizerFast, corpora: Corpora):
        self.tokenizer, self.vocabulary = tokenizer, len(tokenizer)
        self.documents = {True: corpora.sentences, False: corpora.running}
        self.weights = {True: list(range(1, len(corpora.sentences) + 1)), False: cumulated(corpora.running)}

    def batch(self, step: int) -> Batch:
        length, rows = SHAPES[step % len(SHAPES)]
        draw, short = random.Random(step), length == SHAPES[0][0]
        room = 64 if short else length  # a sentence is seldom longer than the 32 that are counted for it
        pairs = [pair(self.documents[short], self.weights[short], room, draw) for _ in range(rows)]
        inputs, adjacent = joined(self.tokenizer, pairs)
        inputs["input_ids"], words = hide(inputs["input_ids"], self.tokenizer, self.vocabulary, step)
        return Batch(inputs, words, adjacent)


def cumulated(documents: list[list[int]]) -> list[int]:
    """So that a long document is drawn in proportion to its length."""
    total, sums = 0, []
    for document in documents:
        total += len(document)
        sums.append(total)
    return sums


def both_losses(model: BertForPreTraining, batch: Batch) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Masked words, next sentence, and all hidden states; words are scored only where they are hidden."""
    read = model.bert(**batch.inputs, output_hidden_states=True)
    where = batch.words != IGNORED
    words = model.cls.predictions(read.last_hidden_state[where])
    adjacent = model.cls.seq_relationship(read.pooler_output)
    return (
        cross_entropy(words.float(), batch.words[where]),
        cross_entropy(adjacent.float(), batch.adjacent),
        read.hidden_states,
    )


class Guide:
    """MiniLM's states on the same masked text, in the small model's basis."""

    def __init__(self, wide: BertModel, numbers: Tensor, basis: Tensor):
        self.wide, self.numbers, self.basis = wide, numbers, basis

    def loss(self, states: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Squared distance over the spread of the states, mean over the layers."""
        inputs = batch.inputs | {"input_ids": self.numbers[batch.inputs["input_ids"]]}
        with torch.no_grad():
            wide = self.wide(**inputs, output_hidden_states=True).hidden_states
        where = batch.inputs["attention_mask"].bool()
        each = [self.distance(one[where], other[where]) for one, other in zip(states, wide, strict=True)]
        return torch.stack(each).mean()

    def distance(self, own: Tensor, wide: Tensor) -> Tensor:
        target = wide.float() @ self.basis
        return (own.float() - target).square().mean() / target.var(0).mean()


def guided(step: int, steps: int) -> float:
    """Weight of the guide: from one straight down to zero."""
    return max(0.0, 1 - step / (GUIDED_SHARE * steps))


def train(
    model: BertForPreTraining, pairs: Pairs, guide: Guide, check: Callable[[], float], arguments: argparse.Namespace
) -> TrainingLog:
    model.set_attn_implementation(
        "eager"
    )  # its backward pass takes a quarter of the fused kernel's time at these sizes
    matrices, rest = matrices_and_rest(model.train(), is_matrix)
    optimizers = Optimizers(matrices, rest, MUON_RATE, ADAM_RATE)
    log, first = resume(model, optimizers, arguments.checkpoint)
    running = torch.zeros(3)
    for step in range(first, arguments.steps):
        batch, weight = pairs.batch(step), guided(step, arguments.steps)
        with torch.autocast("cpu", torch.bfloat16):
            words, adjacent, states = both_losses(model, batch)
            distance = guide.loss(states, batch) if weight else torch.zeros(())
        (words + adjacent + weight * distance).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(warm_up_then_linear(step, arguments.steps, WARM_UP))
        running += torch.stack([words, adjacent, distance]).detach()
        if (step + 1) % REPORT_EVERY == 0:
            report(log, step + 1, running / REPORT_EVERY, check())
            keep(model.train(), optimizers, log, step + 1, arguments.checkpoint)
            running.zero_()
    return log


def report(log: TrainingLog, step: int, means: Tensor, held_out: float) -> None:
    words, adjacent, distance = means.tolist()
    log.add(
        step=step,
        masked_word_loss=words,
        held_out_masked_word_loss=held_out,
        next_sentence_loss=adjacent,
        distance_from_minilm=distance,
    )


def is_matrix(name: str, value: Tensor) -> bool:
    return value.ndim == 2 and "encoder.layer" in name


@torch.no_grad()
def measured(model: BertForPreTraining, batches: Iterator[Batch]) -> dict[str, float]:
    """Loss and accuracy of masked words, accuracy of next sentences."""
    words: list[Tensor] = []
    right: list[Tensor] = []
    follows: list[Tensor] = []
    for batch in batches:
        answer = model.eval()(**batch.inputs)
        where = batch.words != IGNORED
        logits, target = answer.prediction_logits[where], batch.words[where]
        words.append(cross_entropy(logits, target, reduction="none"))
        right.append(logits.argmax(-1) == target)
        follows.append(answer.seq_relationship_logits.argmax(-1) == batch.adjacent)
    values = {"masked_word_loss": words, "masked_word_accuracy": right, "next_sentence_accuracy": follows}
    return {name: round(float(torch.cat(value).float().mean()), 4) for name, value in values.items()}


def check_batches(pairs: Pairs, count: int) -> Iterator[Batch]:
    """Fixed ones, of sentences and running text in turn."""
    return (pairs.batch(step) for step in range(10**6, 10**6 + count))


def commonest_share(pairs: Pairs, count: int) -> float:
    words = torch.cat([batch.words[batch.words != IGNORED] for batch in check_batches(pairs, count)])
    return round(float(words.bincount().max() / len(words)), 4)


def figures(
    model: BertForPreTraining, untrained: BertForPreTraining, pairs: Pairs, count: int = 48
) -> dict[str, float | int | str]:
    before = measured(untrained, check_batches(pairs, count))
    return {
        **{f"held_out_{name}": value for name, value in measured(model, check_batches(pairs, count)).items()},
        **{f"cut_but_untrained_{name}": value for name, value in before.items()},
        "commonest_wordpiece_accuracy": commonest_share(pairs, count),
        "vocabulary": model.config.vocab_size,
        "parameters": model.num_parameters(),
    }


def sample_windows(corpora: Corpora, count: int = 96, length: int = 64) -> Tensor:
    """Windows of sentences and running text alike, what the cut is fitted to."""
    draw = random.Random(0)
    sentences = [token for ids in draw.sample(corpora.sentences, 4 * count) for token in ids]
    running = [token for ids in draw.choices(corpora.running, k=count // 2) for token in cut_in_two(ids, 66, draw)[0]]
    tokens = (sentences[: count * length // 2] + running)[: count * length]
    return torch.tensor(tokens[: len(tokens) // length * length]).view(-1, length)


def prepared() -> tuple[BertForPreTraining, Guide, BertTokenizerFast, Corpora]:
    """The cut model before its training, the same in every run."""
    seed_everything(0)
    wide, wide_tokenizer = load_minilm(minilm_folder())
    texts = training_texts()
    tokenizer, numbers = cut_vocabulary(wide_tokenizer, [*texts[0], *texts[1]], AT_LEAST)
    corpora = tokenized(tokenizer, texts)
    model, basis = shrink(wide, numbers, sample_windows(corpora), Widths())
    return model, Guide(wide, numbers, basis), tokenizer, corpora


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, help="kept every 100 steps; an interrupted run goes on from it")
    parser.add_argument("--out", type=Path, default=MODELS / NAME)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    model, guide, tokenizer, corpora = prepared()
    held_out = Pairs(tokenizer, tokenized(tokenizer, held_out_texts()))
    log = train(
        model,
        Pairs(tokenizer, corpora),
        guide,
        lambda: measured(model, check_batches(held_out, 6))["masked_word_loss"],
        arguments,
    )
    model.half().float()  # the results are those of the weights that ship
    results = figures(model, prepared()[0], held_out)

    def fill(folder: Path) -> None:
        write_model(folder, model, tokenizer)
        log.write(folder, f"{NAME}: nats per masked word, and the other losses")
        write_card(folder, NAME, BODY, results)

    replace_folder(arguments.out, fill)
    print(results)


if __name__ == "__main__":
    main()
