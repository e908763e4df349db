"""Train `embedded-decoder`: a small Llama on the State of the Union addresses.

python -m assets.training.decoder [--steps 3600] [--threads 2] [--checkpoint FILE]
"""

import argparse
import math
import time
from pathlib import Path

import pyppmd
import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from assets.training.common import (
    MODELS,
    Optimizers,
    TrainingLog,
    keep,
    matrices_and_rest,
    read_addresses,
    replace_folder,
    resume,
    seed_everything,
    warm_up_then_linear,
    write_card,
    write_model,
)

SEPARATOR = "<|endoftext|>"
VOCABULARY = 4096
LENGTH = 512
BATCH = 8
WARM_UP = 60
MUON_RATE, ADAM_RATE = 0.02, 3e-3
WEIGHT_DECAY = 0.1
REPORT_EVERY = 200
PROMPTS = ("Fellow citizens of the Senate", "The state of the Treasury", "My fellow Americans, tonight")
BODY = """
A causal language model of Llama architecture (6 layers, width 256, 8 heads over 4 key/value heads, tied
embeddings) with its own byte-level BPE tokenizer of 4,096 entries. Weights are float16.

- **Data**: the State of the Union addresses, 1790 to this century (`assets/data/addresses.jsonl.xz`), split by
  document: every twelfth address in file-name order is held out. The tokenizer saw the training split only.
- **Licence**: the addresses are in the public domain; the weights carry this repository's licence.
- **Recipe**: 8 × 512 tokens a step, bfloat16 autocast, Muon for the matrices, AdamW for the rest, linear decay.
- **Made by**: `python -m assets.training.decoder`
- **Baseline**: PPMd of order 16 with 512 MB, given the same training text: size(train + held out) − size(train).
- **Measured**: windows of 512 tokens; `sliding` moves by 256 and scores each token once with at least 256
  tokens before it, `disjoint` scores every window from its second token on without earlier context.
"""


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(texts, vocab_size=VOCABULARY, special_tokens=[SEPARATOR], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=trainer._tokenizer, bos_token=SEPARATOR, eos_token=SEPARATOR, model_max_length=LENGTH
    )


def build_model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config)


def encode_documents(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    return [[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]] for text in texts]


class Windows:
    """Batches of windows over the shuffled documents; each pass has its own order and its own cut."""

    def __init__(self, documents: list[list[int]]):
        self.documents = documents

    def one_pass(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.documents), generator=generator).tolist()
        stream = torch.tensor([token for index in order for token in self.documents[index]])
        start = int(torch.randint(LENGTH, (1,), generator=generator))
        count = (len(stream) - start) // LENGTH
        rows = stream[start : start + count * LENGTH].view(count, LENGTH)
        rows = rows[torch.randperm(count, generator=generator)]
        return rows[: count // BATCH * BATCH].view(-1, BATCH, LENGTH)

    def batch(self, step: int) -> Tensor:
        """Depends on the step alone, so that a resumed run sees what an unbroken one sees."""
        per_pass = sum(map(len, self.documents)) // LENGTH // BATCH - 1
        which, place = divmod(step, per_pass)
        if getattr(self, "cached", None) != which:
            self.cached, self.rows = which, self.one_pass(which)
        return self.rows[place]


@torch.no_grad()
def token_losses(model: LlamaForCausalLM, windows: Tensor) -> Tensor:
    """Nats of every token but a window's first, (N, L - 1)."""
    losses = []
    for batch in windows.split(8):
        logits = model(batch, use_cache=False).logits[:, :-1].float()
        losses.append(torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none"))
    return torch.cat(losses)


def sliding_bits(model: LlamaForCausalLM, documents: list[list[int]]) -> float:
    """Bits of all tokens of the documents, each scored once."""
    total = 0.0
    for document in documents:
        stride = LENGTH // 2
        for start in range(0, max(1, len(document) - stride), stride):
            window = torch.tensor([document[start : start + LENGTH]])
            fresh = 0 if start == 0 else stride - 1  # tokens already scored by the window before
            total += float(token_losses(model, window)[:, fresh:].sum())
    return total / math.log(2)


def disjoint_bits_per_byte(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, documents: list[list[int]]
) -> float:
    stream = torch.tensor([token for document in documents for token in document[1:]])
    windows = stream[: len(stream) // LENGTH * LENGTH].view(-1, LENGTH)
    scored = sum(len(tokenizer.decode(window[1:]).encode("utf-8")) for window in windows.tolist())
    return float(token_losses(model, windows).sum()) / math.log(2) / scored


def ppmd_bits_per_byte(train: list[str], held_out: list[str]) -> float:
    def size(texts: list[str]) -> int:
        encoder = pyppmd.Ppmd7Encoder(16, 512 << 20)
        return len(encoder.encode("\n\n".join(texts).encode("utf-8"))) + len(encoder.flush())

    spent = size([*train, *held_out]) - size(train)
    return 8 * spent / sum(len(text.encode("utf-8")) for text in held_out)


def train(model: LlamaForCausalLM, windows: Windows, check: Tensor, arguments: argparse.Namespace) -> TrainingLog:
    matrices, rest = matrices_and_rest(model, lambda name, value: value.ndim == 2 and "embed" not in name)
    optimizers = Optimizers(matrices, rest, MUON_RATE, ADAM_RATE, WEIGHT_DECAY)
    log, first = resume(model, optimizers, arguments.checkpoint)
    forward = torch.compile(model) if arguments.compile else model
    started, running = time.monotonic(), 0.0
    for step in range(first, arguments.steps):
        batch = windows.batch(step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = forward(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        optimizers.step(warm_up_then_linear(step, arguments.steps, WARM_UP))
        running += float(loss.detach())
        if (step + 1) % REPORT_EVERY == 0:
            held_out = float(token_losses(model, check).mean())
            log.add(step=step + 1, training_loss=running / REPORT_EVERY, held_out_loss=held_out)
            running = 0.0
            print(f"  {time.monotonic() - started:.0f} s", flush=True)
            keep(model, optimizers, log, step + 1, arguments.checkpoint)
    return log


@torch.no_grad()
def samples(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> str:
    """What it writes when asked to go on, as a section of the card."""
    lines = []
    for seed, prompt in enumerate(PROMPTS):
        torch.manual_seed(seed)
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"]]])
        written = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=70,
            do_sample=True,
            temperature=0.7,
            top_k=50,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
        )
        text = " ".join(tokenizer.decode(written[0], skip_special_tokens=True).split())
        lines.append(f"> **{prompt}**{text.removeprefix(prompt)} …")
    return "\n\n".join(["## Samples", "Temperature 0.7, the 50 likeliest tokens, seeds 0, 1 and 2:", *lines])


def figures(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, train_texts: list[str], held_out: list[str]
) -> dict[str, float | int | str]:
    documents = encode_documents(tokenizer, held_out)
    held_out_bytes = sum(len(text.encode("utf-8")) for text in held_out)
    sliding = sliding_bits(model, documents) / held_out_bytes
    baseline = ppmd_bits_per_byte(train_texts, held_out)
    return {
        "held_out_bits_per_byte_sliding": round(sliding, 4),
        "held_out_bits_per_byte_disjoint": round(disjoint_bits_per_byte(model, tokenizer, documents), 4),
        "ppmd_bits_per_byte": round(baseline, 4),
        "better_than_ppmd_percent": round(100 * (1 - sliding / baseline), 2),
        "held_out_bytes": held_out_bytes,
        "parameters": model.num_parameters(),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, help="kept every 200 steps; an interrupted run goes on from it")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=MODELS / "embedded-decoder")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    seed_everything(0)
    train_texts, held_out = read_addresses("train"), read_addresses("held_out")
    tokenizer = train_tokenizer(train_texts)
    model = build_model()
    check = Windows(encode_documents(tokenizer, held_out)).one_pass(0)[:4].flatten(0, 1)
    log = train(model, Windows(encode_documents(tokenizer, train_texts)), check, arguments)
    model.half().float()  # the results are those of the weights that ship
    results = figures(model.eval(), tokenizer, train_texts, held_out)
    written = samples(model, tokenizer)

    def fill(folder: Path) -> None:
        write_model(folder, model, tokenizer)
        log.write(folder, "embedded-decoder: nats per token")
        write_card(folder, "embedded-decoder", BODY + "\n" + written, results)

    replace_folder(arguments.out, fill)
    print(results)


if __name__ == "__main__":
    main()
