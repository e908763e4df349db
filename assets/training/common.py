"""What every training script shares: data, schedule, log, and the folder of a finished model."""

import copy
import csv
import hashlib
import io
import json
import lzma
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

ASSETS = Path(__file__).resolve().parents[1]
DATA = ASSETS / "data"
MODELS = ASSETS / "models"
WEIGHTS = "model.safetensors"


def seed_everything(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)


def read_text(name: str) -> str:
    raw = (DATA / name).read_bytes()
    return (lzma.decompress(raw) if name.endswith(".xz") else raw).decode("utf-8")


def read_addresses(split: str) -> list[str]:
    entries = [json.loads(line) for line in read_text("addresses.jsonl.xz").splitlines()]
    return [entry["text"] for entry in entries if entry["split"] == split]


def read_table(name: str, split: str | None = None) -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(read_text(name))))
    return [row for row in rows if split is None or row["split"] == split]


def read_reviews(split: str) -> tuple[list[str], list[int]]:
    """Movie-review sentences and their labels: 1 where the mean rating is positive."""
    rows = read_table("movie_reviews.csv.xz", split)
    return [row["text"] for row in rows], [int(float(row["rating"]) > 0) for row in rows]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def warm_up_then_linear(step: int, steps: int, warm_up: int) -> float:
    """Share of the peak learning rate: up over the first steps, then straight down to zero."""
    if step < warm_up:
        return (step + 1) / warm_up
    return max(0.0, (steps - step) / max(1, steps - warm_up))


def matrices_and_rest(model: nn.Module, is_matrix: Callable[[str, Tensor], bool]) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters for Muon and parameters for AdamW."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    matrices = [parameter for name, parameter in named if is_matrix(name, parameter)]
    chosen = {id(parameter) for parameter in matrices}
    rest: list[Tensor] = [parameter for _, parameter in named if id(parameter) not in chosen]
    return list(matrices), rest


class Optimizers:
    """Muon for the hidden matrices and AdamW for everything else, on one schedule."""

    def __init__(self, matrices: list[Tensor], rest: list[Tensor], muon: float, adam: float, decay: float = 0.1):
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=muon, momentum=0.95, weight_decay=decay),
            torch.optim.AdamW(rest, lr=adam, betas=(0.9, 0.95), weight_decay=0.01),
        ]
        self.peaks = [muon, adam]

    def step(self, share: float) -> None:
        for optimizer, peak in zip(self.parts, self.peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        return [optimizer.state_dict() for optimizer in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for optimizer, state in zip(self.parts, states, strict=True):
            optimizer.load_state_dict(state)


@dataclass
class TrainingLog:
    """The curve of one run: rows of numbers, kept as CSV and drawn as SVG."""

    rows: list[dict[str, float]] = field(default_factory=list)

    def add(self, **values: float) -> None:
        self.rows.append(values)
        print("  ".join(f"{key} {value:.5g}" for key, value in values.items()), flush=True)

    def columns(self) -> list[str]:
        return list(dict.fromkeys(key for row in self.rows for key in row))

    def write(self, folder: Path, caption: str) -> None:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self.columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in self.rows)
        (folder / "training.csv").write_text(stream.getvalue(), encoding="utf-8")
        (folder / "training.svg").write_text(draw_curves(self.rows, self.columns(), caption), encoding="utf-8")


COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito: told apart without colour vision


def draw_curves(rows: list[dict[str, float]], columns: list[str], caption: str) -> str:
    """A plain SVG line chart of every column against the first, on one vertical scale."""
    across, series = columns[0], columns[1:]
    values = [row[name] for row in rows for name in series if name in row]
    low, high = min(values), max(values)
    right = max(row[across] for row in rows) or 1

    def place(row: dict[str, float], name: str) -> str:
        height = (row[name] - low) / ((high - low) or 1)
        return f"{60 + 520 * row[across] / right:.1f},{270 - 220 * height:.1f}"

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 310" font-family="sans-serif" font-size="12">',
        '<rect width="640" height="310" fill="white"/>',
        f'<text x="60" y="24" font-size="14">{caption}</text>',
        '<path d="M60 50V270H580" fill="none" stroke="#888"/>',
        f'<text x="54" y="54" text-anchor="end">{high:.3g}</text>',
        f'<text x="54" y="274" text-anchor="end">{low:.3g}</text>',
        f'<text x="580" y="290" text-anchor="end">{right:g} {across}s</text>',
    ]
    for index, name in enumerate(series):
        points = " ".join(place(row, name) for row in rows if name in row)
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{70 + 170 * index}" y="44" fill="{colour}">{name.replace("_", " ")}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def keep(model: nn.Module, optimizers: Optimizers, log: TrainingLog, step: int, path: Path | None) -> None:
    """Write the checkpoint of an unfinished run; it appears whole or not at all."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"model": model.state_dict(), "optimizers": optimizers.state_dict(), "rows": log.rows, "step": step}
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def resume(model: nn.Module, optimizers: Optimizers, path: Path | None) -> tuple[TrainingLog, int]:
    """The log and the step to go on from: an empty log and step 0 where there is no checkpoint."""
    if path is None or not path.exists():
        return TrainingLog(), 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizers.load_state_dict(state["optimizers"])
    return TrainingLog(state["rows"]), state["step"]


def write_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Float16 weights (a tied matrix once), config and tokenizer; the weights being trained stay as they are."""
    copy.deepcopy(model).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / WEIGHTS).chmod(0o644)


def write_card(folder: Path, title: str, body: str, figures: dict[str, float | int | str]) -> None:
    """README.md with the results beside their baselines, results.json with the same numbers for programs."""
    weights = next(folder.glob("*.safetensors"))
    lines = [f"| {name.replace('_', ' ')} | {value} |" for name, value in figures.items()]
    digest = f"SHA-256 of `{weights.name}`: `{sha256(weights)}`"
    table = "\n".join(["| measured | |", "|---|---|", *lines])
    picture = "![training curve](training.svg)\n\nThe numbers of the curve are in `training.csv`."
    text = "\n\n".join(
        [f"# {title}", body.strip(), "## Results", table, "## Training", picture, "## Integrity", digest]
    )
    (folder / "README.md").write_text(text + "\n", encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def replace_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Write a folder beside its place and swap it in, so that no reader meets a half-written model."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new{os.getpid()}")
    old = target.with_name(f".{target.name}.old{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    fill(fresh)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)
