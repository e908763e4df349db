"""Train the sentiment head of `minilm-l6`: a pooler and a classifier on the mean of MiniLM's frozen states.

python -m assets.training.minilm_head [--threads 2] [--checkpoint FILE]
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from assets.training.common import (
    MODELS,
    WEIGHTS,
    TrainingLog,
    read_reviews,
    replace_folder,
    seed_everything,
    write_card,
)
from assets.training.minilm import embed, load_minilm, minilm_folder

NAME = "minilm-sentiment-head"
STEPS, BATCH = 1500, 256
REPORT_EVERY = 100
BODY = """
A pooler and a classifier on the mean of all-MiniLM-L6-v2's states, as which that model was trained to be read: with
them `minilm-l6` tells negative from positive film-review sentences. MiniLM's own weights stay as they are in its
package; this file holds the four tensors of the head only, in float16.

- **Data**: the training split of `assets/data/movie_reviews.csv.xz`; the 1,500 held-out sentences are never seen.
- **Licence**: data MIT (see `assets/data/README.md`); MiniLM Apache-2.0 by its authors, not part of this file; the head
  carries this repository's licence.
- **Recipe**: states computed once; dropout 0.2 before the pooler and 0.1 behind it, AdamW, 1,500 steps of 256.
- **Made by**: `python -m assets.training.minilm_head`
- **Measured**: accuracy on the held-out sentences. `first state`: the same head trained on the state of [CLS], which
  BERT's own classifier reads and MiniLM was not trained for.
"""


class Head(nn.Module):
    """What `MeanPooledBertForSequenceClassification` computes from the mean of the states."""

    def __init__(self, width: int):
        super().__init__()
        self.before, self.behind = nn.Dropout(0.2), nn.Dropout(0.1)
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, state: Tensor) -> Tensor:
        return self.classifier(self.behind(torch.tanh(self.pooler(self.before(state)))))

    def tensors(self) -> dict[str, Tensor]:
        """Under the names that transformers gives them."""
        named = {"pooler.dense": self.pooler, "classifier": self.classifier}
        return {
            f"{path}.{name}": tensor.detach().half()
            for path, module in named.items()
            for name, tensor in module.named_parameters()
        }


@torch.no_grad()
def accuracy(head: Head, states: Tensor, labels: Tensor) -> float:
    return float((head.eval()(states).argmax(-1) == labels).float().mean())


def train(states: Tensor, labels: Tensor, held_out: tuple[Tensor, Tensor]) -> tuple[Head, TrainingLog]:
    seed_everything(0)
    head, log, running = Head(states.shape[1]), TrainingLog(), 0.0
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    for step in range(STEPS):
        rows = torch.randint(len(states), (BATCH,))
        loss = cross_entropy(head.train()(states[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        running += float(loss.detach())
        if (step + 1) % REPORT_EVERY == 0:
            log.add(step=step + 1, training_loss=running / REPORT_EVERY, held_out_accuracy=accuracy(head, *held_out))
            running = 0.0
    return head.half().float(), log


def all_states(checkpoint: Path | None) -> list[tuple[tuple[Tensor, Tensor], Tensor]]:
    """((mean, [CLS]), labels) of the training and of the held-out sentences; kept, as it takes a minute or two."""
    if checkpoint is not None and checkpoint.exists():
        return torch.load(checkpoint, weights_only=True)
    model, tokenizer = load_minilm(minilm_folder())
    splits = [read_reviews(split) for split in ("train", "held_out")]
    found = [(embed(model, tokenizer, texts), torch.tensor(labels)) for texts, labels in splits]
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        torch.save(found, checkpoint)
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, help="keeps the states; the training itself takes seconds")
    parser.add_argument("--out", type=Path, default=MODELS / NAME)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    (train_states, labels), (held_states, truth) = all_states(arguments.checkpoint)
    (mean, first), (held_mean, held_first) = train_states, held_states
    head, log = train(mean, labels, (held_mean, truth))
    other, _ = train(first, labels, (held_first, truth))
    results: dict[str, float | int | str] = {
        "held_out_accuracy": round(accuracy(head, held_mean, truth), 4),
        "held_out_accuracy_first_state": round(accuracy(other, held_first, truth), 4),
        "held_out_majority": round(max(float(truth.float().mean()), 1 - float(truth.float().mean())), 4),
        "held_out_sentences": len(truth),
        "parameters": sum(tensor.numel() for tensor in head.tensors().values()),
    }

    def fill(folder: Path) -> None:
        save_file(head.tensors(), folder / WEIGHTS, metadata={"format": "pt"})
        log.write(folder, f"{NAME}: training loss and held-out accuracy")
        write_card(folder, NAME, BODY, results)

    replace_folder(arguments.out, fill)
    print(results)


if __name__ == "__main__":
    main()
