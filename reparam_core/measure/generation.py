"""What a setting says to a prompt: text that goes on, an answer, a class, or the words behind a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from reparam_core.apply import Setting
from reparam_core.data import most_tokens
from reparam_core.errors import ReparamError
from reparam_core.models import Model
from reparam_core.models.model import logits_of

MOST_PROMPT = 512
BEST = 5


def said(setting: Setting, prompt: str, tokens: int = 60, temperature: float = 0.0, seed: int = 0) -> Iterator[str]:
    """What the setting says, growing; the same prompt and seed give the same text.

    Raises ReparamError for an empty prompt, or a model that says nothing.
    """
    if setting.model.tokenizer is None or setting.model.objective not in SPEAKERS:
        raise ReparamError(f"{setting.model.name} has no head to say anything with.", "Choose another model.")
    if not prompt.strip():
        raise ReparamError("The prompt is empty.", "Write a sentence.")
    draw = torch.Generator().manual_seed(seed)

    def pick(logits: Tensor) -> int:
        if temperature == 0:
            return int(logits.argmax())
        return int(torch.multinomial((logits.float() / temperature).softmax(-1), 1, generator=draw))

    yield from SPEAKERS[setting.model.objective](setting, prompt, tokens, pick)


def prompt_ids(model: Model, prompt: str) -> Tensor:
    """(1, T), through the chat template where the model has one."""
    if getattr(model.tokenizer, "chat_template", None):
        told = [{"role": "user", "content": prompt}]
        text = model.tokenizer.apply_chat_template(told, add_generation_prompt=True, tokenize=False)
        ids = model.encode(text)
    else:
        ids = model.encode(prompt)
    return torch.tensor([ids[-MOST_PROMPT:]])


def _ends(model: Model) -> set[int]:
    """Every token that ends an answer."""
    given = getattr(model.config, "eos_token_id", None)
    return {
        one
        for one in [model.tokenizer.eos_token_id, *(given if isinstance(given, list) else [given])]
        if one is not None
    }


def _goes_on(setting: Setting, prompt: str, tokens: int, pick: Callable[[Tensor], int]) -> Iterator[str]:
    """A causal model: one token after the other, with its keys and values kept."""
    model, module = setting.model, setting.module
    ids, kept, written = prompt_ids(model, prompt), None, []
    for _ in range(tokens):
        with torch.inference_mode():
            answer = module(input_ids=ids, past_key_values=kept, use_cache=True)
        token, kept = pick(answer.logits[0, -1]), answer.past_key_values
        if token in _ends(model):
            break
        written.append(token)
        ids = torch.tensor([[token]])
        yield model.tokenizer.decode(written, skip_special_tokens=True)
    if not written:
        yield ""


def _answers(setting: Setting, prompt: str, tokens: int, pick: Callable[[Tensor], int]) -> Iterator[str]:
    """An encoder–decoder: the answer so far, read again for every token, which for short answers is quick enough."""
    model, module = setting.model, setting.module
    ids = _read(model, prompt)["input_ids"]
    written = [int(model.config.decoder_start_token_id)]
    for _ in range(tokens):
        with torch.inference_mode():
            logits = module(input_ids=ids, decoder_input_ids=torch.tensor([written])).logits
        token = pick(logits[0, -1])
        if token in _ends(model):
            break
        written.append(token)
        yield model.tokenizer.decode(written[1:], skip_special_tokens=True)


def _classifies(setting: Setting, prompt: str, tokens: int, pick: Callable[[Tensor], int]) -> Iterator[str]:
    """A classifier: each class with its probability."""
    model = setting.model
    inputs = _read(model, prompt)
    with torch.inference_mode():
        shares = setting.module(**inputs).logits[0].float().softmax(-1)
    order = shares.argsort(descending=True).tolist()
    yield " · ".join(f"{model.config.id2label[index]} {shares[index]:.1%}" for index in order)


def _fills(setting: Setting, prompt: str, tokens: int, pick: Callable[[Tensor], int]) -> Iterator[str]:
    """A masked encoder: the likeliest words behind the first mask; without one, behind the last word."""
    model = setting.model
    mask = model.tokenizer.mask_token
    text = prompt if mask in prompt else f"{prompt.rstrip('. ').rpartition(' ')[0]} {mask}."
    inputs = _read(model, text)
    masks = (inputs["input_ids"][0] == model.tokenizer.mask_token_id).nonzero()
    if not len(masks):
        raise ReparamError(f"The mask lies behind all that {model.name} reads at once.", "Write a shorter prompt.")
    place = int(masks[0])
    with torch.inference_mode():
        answer = setting.module(**inputs)
    shares, best = logits_of(answer)[0, place].float().softmax(-1).topk(BEST)
    words = [f"{model.tokenizer.decode([one])} {share:.1%}" for one, share in zip(best.tolist(), shares, strict=True)]
    yield f"{text} → " + " · ".join(words)


def _read(model: Model, text: str) -> dict[str, Any]:
    found = model.tokenizer(text, return_tensors="pt", truncation=True, max_length=most_tokens(model))
    return {name: found[name] for name in ("input_ids", "attention_mask")}


SPEAKERS: dict[str, Callable[[Setting, str, int, Callable[[Tensor], int]], Iterator[str]]] = {
    "causal": _goes_on, "seq2seq": _answers, "classification": _classifies, "masked": _fills}  # fmt: skip
