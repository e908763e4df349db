"""One base model serves every session at once: nothing that a setting does reaches another, or the base."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from reparam_core import apply, load
from reparam_core.apply import single_threaded

MIXED = """{"rules": [{"rank": {"method": "svd", "keep": 0.7}, "bits": {"method": "rtn", "bits": 8}},
                      {"where": "*.mlp.*", "rank": null, "sparsity": {"method": "magnitude", "fraction": 0.3}}]}"""
RECIPES = ["base", "svd:0.5", "magnitude:0.5", "rtn:4", "svd:0.8 + magnitude:0.2 + rtn:4g32s", "randomized-svd:0.3",
           '{"rules": [], "storage": "bfloat16"}', MIXED]  # fmt: skip
DTYPES = [torch.float32, torch.bfloat16]


def test_the_base_is_loaded_once_whoever_asks() -> None:
    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(load, ["embedded-decoder"] * 8))
    assert len({id(model) for model in loaded}) == 1


def test_eight_threads_with_different_settings_answer_as_one_after_another() -> None:
    base = load("embedded-decoder")
    tokens = torch.arange(2, 66).unsqueeze(0)

    def answer(asked: tuple[str, torch.dtype]) -> Tensor:
        recipe, dtype = asked
        with torch.inference_mode():
            logits: Tensor = apply(base, recipe, dtype=dtype).module(tokens).logits
        return logits

    weights = {name: tensor.clone() for name, tensor in base.module.state_dict().items()}
    asked = [(recipe, dtype) for recipe in RECIPES for dtype in DTYPES]
    with single_threaded():  # one thread an answer: the same sums in the same order, so the same bits
        expected = [answer(one) for one in asked]
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(answer, asked))
    for one, alone, beside in zip(asked, expected, together, strict=True):
        assert torch.equal(alone, beside), one
    assert len({alone.float().sum().item() for alone in expected}) >= len(RECIPES)  # they do differ
    assert all(torch.equal(weights[name], tensor) for name, tensor in base.module.state_dict().items())
