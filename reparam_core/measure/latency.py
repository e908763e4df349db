"""Wall clock of base and setting, interleaved in one process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reparam_core.apply import Setting, base

DENSE = "dense matrix product"


def latency(setting: Setting, inputs: Mapping[str, Tensor], runs: int = 7, decode: int = 8) -> dict[str, Any]:
    """One forward pass over the inputs' first row and, for causal models, greedy decoding after it.

    Median and p95 in milliseconds, base and setting in turn, after one warm-up.
    """
    return list(latency_steps(setting, inputs, runs, decode))[-1]


def latency_steps(
    setting: Setting, inputs: Mapping[str, Tensor], runs: int = 7, decode: int = 8
) -> Iterator[dict[str, Any]]:
    """The same after every run, so that whoever waits for the machine need not wait for all of them."""
    inputs = {name: value[:1] for name, value in inputs.items()}
    modules = {"setting": setting.module, "base": base(setting.model, setting.dtype).module}
    tokens = decode if setting.model.objective == "causal" else 0
    times: dict[str, list[tuple[float, float | None]]] = {name: [] for name in modules}
    kernels = "; ".join(sorted({form.kernel for form in setting.forms.values()})) or DENSE
    for run in range(runs + 1):
        for name, module in modules.items():
            taken = _timed(module, inputs, tokens)
            if run:
                times[name].append(taken)
        if run:
            found = {name: _summary(values) for name, values in times.items()}
            found["setting"]["kernel"], found["base"]["kernel"] = kernels, DENSE
            told = {"tokens": inputs["input_ids"].shape[1], "batch": 1, "threads": torch.get_num_threads(), "runs": run}
            yield found | told


def _timed(module: nn.Module, inputs: Mapping[str, Tensor], decode: int) -> tuple[float, float | None]:
    with torch.inference_mode():
        started = time.perf_counter()
        answer = module(**inputs, use_cache=True) if decode else module(**inputs)
        prefill = (time.perf_counter() - started) * 1e3
        if not decode:
            return prefill, None
        started = time.perf_counter()
        for _ in range(decode):
            token = answer.logits[:, -1:].argmax(-1)
            answer = module(input_ids=token, past_key_values=answer.past_key_values, use_cache=True)
        return prefill, (time.perf_counter() - started) * 1e3 / decode


def _summary(values: list[tuple[float, float | None]]) -> dict[str, Any]:
    decoded = [decode for _, decode in values if decode is not None]
    return {
        "prefill_ms": _quantiles([prefill for prefill, _ in values]),
        "decode_ms_per_token": _quantiles(decoded) if decoded else None,
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    low, high = np.quantile(values, [0.5, 0.95])
    return {"p50": float(low), "p95": float(high)}
