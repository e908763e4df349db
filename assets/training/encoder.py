"""Train `embedded-encoder`: the pretrained small BERT, distilled from a fine-tuned MiniLM on film reviews.

python -m assets.training.encoder [--steps 1500] [--threads 2] [--checkpoint FILE]
"""

import argparse
import math
import random
from pathlib import Path

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div
from transformers import AutoTokenizer, BertForSequenceClassification, PreTrainedTokenizerFast

from assets.training.common import (
    MODELS,
    Optimizers,
    TrainingLog,
    keep,
    matrices_and_rest,
    read_reviews,
    read_table,
    replace_folder,
    resume,
    seed_everything,
    warm_up_then_linear,
    write_card,
    write_model,
)
from assets.training.minilm import Teacher, Tuning, by_length, encode, minilm_folder, teacher_logits

NAME = "embedded-encoder"
LABELS = {0: "negative", 1: "positive"}
VARIANTS = 2  # altered copies of each training sentence
ROWS = 32  # labelled sentences a step, and as many without a label
TEMPERATURE = 2.0
LABEL_WEIGHT = 0.3
DROPOUT = 0.1
WARM_UP = 40
MUON_RATE, ADAM_RATE = 0.003, 5e-4
REPORT_EVERY = 100
BODY = """
An encoder of BERT architecture (6 layers, width 192, 12 heads) that tells negative from positive film-review sentences:
`embedded-encoder-pretrained` with a `BertForSequenceClassification` head. Weights are float16.

- **Data**: `assets/data/movie_reviews.csv.xz`: sentences whose mean rating by people lies more than 0.5 from zero, the
  sign is the label; 1,500 sentences are held out by a fixed split and never seen. Tweets, editorials, product reviews
  and undecided sentences serve without labels.
- **Licence**: sentences MIT (see `assets/data/README.md`); MiniLM Apache-2.0 by its authors; the weights carry this
  repository's licence, with MiniLM's notice.
- **Recipe**: MiniLM is fine-tuned on the training split (3 passes); it then says what it thinks of every training
  sentence, of two altered copies of each (words left out, a part cut out) and of the sentences without labels; the
  small encoder learns to say the same (temperature 2), with 0.3 of the true labels' loss. 32 + 32 sentences a step.
- **Made by**: `python -m assets.training.encoder`
- **Measured**: accuracy on the 1,500 held-out sentences; the interval of the difference is paired, 95 %.
- **Baselines**: logistic regression on TF-IDF of words and pairs of words, its strength chosen by cross-validation on
  the training split; the commonest label; and the teacher.
"""


def altered(text: str, draw: random.Random) -> str:
    """Some words left out, or only a part of the sentence."""
    words = text.split()
    if draw.random() < 0.5:
        kept = [word for word in words if draw.random() > 0.15]
    else:
        length = max(3, round(len(words) * draw.uniform(0.4, 0.9)))
        start = draw.randrange(max(1, len(words) - length + 1))
        kept = words[start : start + length]
    return " ".join(kept or words)


def other_sentences(texts: list[str]) -> list[str]:
    """What the teacher is asked beside the training sentences: altered copies of these, and sentences without labels."""
    draw = random.Random(0)
    copies = [altered(text, draw) for text in texts for _ in range(VARIANTS)]
    tables = ("tweets", "editorials", "product_reviews")
    rows = [
        *read_table("movie_reviews.csv.xz", "undecided"),
        *(row for name in tables for row in read_table(f"{name}.csv.xz")),
    ]
    return [*copies, *(row["text"] for row in rows)]


def tuned_teacher(texts: list[str], labels: list[int], work: Path | None) -> Teacher:
    teacher = Teacher(minilm_folder())
    Tuning(teacher, texts, labels).run(work and work.with_name("teacher.pt"))
    return teacher


def opinions(work: Path | None) -> dict[str, Tensor]:
    """The teacher's logits on the training, the other and the held-out sentences; computed once."""
    path = work and work.with_name("opinions.pt")
    if path is not None and path.exists():
        return torch.load(path, weights_only=True)
    texts, labels = read_reviews("train")
    teacher = tuned_teacher(texts, labels, work)
    asked = {"train": texts, "other": other_sentences(texts), "held_out": read_reviews("held_out")[0]}
    found = {name: teacher_logits(teacher, part) for name, part in asked.items()}
    if path is not None:
        torch.save(found, path)
    return found


def student(folder: Path) -> tuple[BertForSequenceClassification, PreTrainedTokenizerFast]:
    seed_everything(0)
    model = BertForSequenceClassification.from_pretrained(
        folder,
        dtype=torch.float32,
        id2label=LABELS,
        label2id={name: index for index, name in LABELS.items()},
        hidden_dropout_prob=DROPOUT,
        attn_implementation="eager",
    )
    return model, AutoTokenizer.from_pretrained(folder)


class Lessons:
    """Batches of sentences with the teacher's opinion, labelled ones first; each depends on the step alone."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, thought: dict[str, Tensor]):
        self.tokenizer, self.thought = tokenizer, thought
        self.texts, labels = read_reviews("train")
        self.labels, self.others = torch.tensor(labels), other_sentences(self.texts)

    def batch(self, step: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        per_pass = len(self.texts) // ROWS
        which, place = divmod(step, per_pass)
        order = torch.randperm(len(self.texts), generator=torch.Generator().manual_seed(which))
        rows = order[place * ROWS : (place + 1) * ROWS]
        more = torch.randint(len(self.others), (ROWS,), generator=torch.Generator().manual_seed(10**6 + step))
        texts = [*(self.texts[index] for index in rows), *(self.others[index] for index in more)]
        wanted = torch.cat([self.thought["train"][rows], self.thought["other"][more]])
        return encode(self.tokenizer, texts), wanted, self.labels[rows]


def lesson_loss(logits: Tensor, wanted: Tensor, labels: Tensor) -> Tensor:
    own, theirs = ((each / TEMPERATURE).log_softmax(-1) for each in (logits, wanted))
    distilled = kl_div(own, theirs, log_target=True, reduction="batchmean") * TEMPERATURE**2
    return distilled + LABEL_WEIGHT * cross_entropy(logits[: len(labels)], labels)


def is_matrix(name: str, value: Tensor) -> bool:
    return value.ndim == 2 and "encoder.layer" in name


def train(
    model: BertForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    lessons: Lessons,
    arguments: argparse.Namespace,
) -> TrainingLog:
    matrices, rest = matrices_and_rest(model, is_matrix)
    optimizers = Optimizers(matrices, rest, MUON_RATE, ADAM_RATE)
    log, first = resume(model, optimizers, arguments.checkpoint)
    texts, labels = read_reviews("held_out")
    running = 0.0
    for step in range(first, arguments.steps):
        torch.manual_seed(step)  # of dropout
        inputs, wanted, truth = lessons.batch(step)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.train()(**inputs).logits
        loss = lesson_loss(logits.float(), wanted, truth)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(warm_up_then_linear(step, arguments.steps, WARM_UP))
        running += float(loss.detach())
        if (step + 1) % REPORT_EVERY == 0:
            accuracy = float(rights(student_logits(model, tokenizer, texts), labels).mean())
            log.add(step=step + 1, training_loss=running / REPORT_EVERY, held_out_accuracy=accuracy)
            keep(model, optimizers, log, step + 1, arguments.checkpoint)
            running = 0.0
    return log


@torch.no_grad()
def student_logits(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> Tensor:
    logits = torch.empty(len(texts), 2)
    for rows in by_length(texts):
        logits[rows] = model.eval()(**encode(tokenizer, [texts[index] for index in rows])).logits
    return logits


def rights(logits: Tensor, labels: list[int]) -> Tensor:
    return (logits.argmax(-1) == torch.tensor(labels)).float()


def word_counts_rights() -> Tensor:
    """Which held-out sentences the TF-IDF baseline gets right."""
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    baseline = make_pipeline(vectors, LogisticRegressionCV(Cs=[1.0, 3.0, 10.0, 30.0], cv=5, max_iter=1000))
    baseline.fit(*read_reviews("train"))
    texts, labels = read_reviews("held_out")
    return (torch.tensor(baseline.predict(texts)) == torch.tensor(labels)).float()


def figures(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, thought: dict[str, Tensor]
) -> dict[str, float | int | str]:
    texts, labels = read_reviews("held_out")
    own, words = rights(student_logits(model, tokenizer, texts), labels), word_counts_rights()
    difference = own - words
    half = 1.96 * float(difference.std()) / math.sqrt(len(labels))
    positive = sum(labels) / len(labels)
    return {
        "held_out_accuracy": round(float(own.mean()), 4),
        "tfidf_accuracy": round(float(words.mean()), 4),
        "better_than_tfidf": round(float(difference.mean()), 4),
        "better_than_tfidf_at_least": round(float(difference.mean()) - half, 4),
        "better_than_tfidf_at_most": round(float(difference.mean()) + half, 4),
        "teacher_accuracy": round(float(rights(thought["held_out"], labels).mean()), 4),
        "majority": round(max(positive, 1 - positive), 4),
        "held_out_sentences": len(labels),
        "parameters": model.num_parameters(),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, help="kept every 100 steps, the teacher beside it")
    parser.add_argument("--pretrained", type=Path, default=MODELS / "embedded-encoder-pretrained")
    parser.add_argument("--out", type=Path, default=MODELS / NAME)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    thought = opinions(arguments.checkpoint)
    model, tokenizer = student(arguments.pretrained)
    log = train(model, tokenizer, Lessons(tokenizer, thought), arguments)
    model.half().float()  # the results are those of the weights that ship
    results = figures(model, tokenizer, thought)

    def fill(folder: Path) -> None:
        write_model(folder, model, tokenizer)
        log.write(folder, f"{NAME}: training loss and held-out accuracy")
        write_card(folder, NAME, BODY, results)

    replace_folder(arguments.out, fill)
    print(results)


if __name__ == "__main__":
    main()
