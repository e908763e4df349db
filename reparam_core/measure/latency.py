"""Wall clock of base and setting, interleaved in one process."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reparam_core.apply import Setting, base
from reparam_core.store import key, store

DENSE = "dense matrix product"
PRODUCTS = 12  # in each dtype, to find out which is quicker here
WORTH = 1.15  # times as fast


def latency(setting: Setting, inputs: Mapping[str, Tensor], runs: int = 9, decode: int = 8) -> dict[str, Any]:
    """One forward pass over the inputs' first row and, for causal models, greedy decoding after it.

    Median and p95 in milliseconds, base and setting in turn, after one warm-up. `speed` is base time / setting time,
    above 1 where the setting is faster: the median over the runs that stood side by side, with its interval.
    """
    return list(latency_steps(setting, inputs, runs, decode))[-1]


def latency_steps(
    setting: Setting, inputs: Mapping[str, Tensor], runs: int = 9, decode: int = 8
) -> Iterator[dict[str, Any]]:
    """The same after every pass, so that whoever waits for the machine need not wait for all of them.

    Nothing is known, and the dict empty, until base and setting have both been timed once after the warm-up.
    """
    inputs = {name: value[:1] for name, value in inputs.items()}
    modules = {"setting": setting.module, "base": base(setting.model, setting.dtype).module}
    tokens = decode if setting.model.writes_text else 0
    times: dict[str, list[tuple[float, float | None]]] = {name: [] for name in modules}
    kernels = "; ".join(sorted({form.kernel for form in setting.forms.values()})) or DENSE
    known: dict[str, Any] = {}
    for run in range(runs + 1):
        for name, module in modules.items():
            taken = _timed(module, inputs, tokens)
            if run:
                times[name].append(taken)
            if not run or name == "setting":
                yield known
        if run:
            found = {name: _summary(values) for name, values in times.items()}
            found["setting"]["kernel"], found["base"]["kernel"] = kernels, DENSE
            told = {"tokens": inputs["input_ids"].shape[1], "batch": 1, "threads": torch.get_num_threads(), "runs": run}
            yield (known := found | {"speed": _speed(times)} | told)


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


def _speed(times: Mapping[str, list[tuple[float, float | None]]]) -> dict[str, Any]:
    """How many times as fast as the base, reading and writing."""
    runs = list(zip(times["base"], times["setting"], strict=True))
    decoded = [theirs[1] / own[1] for theirs, own in runs if theirs[1] and own[1]]
    return {
        "prefill": median_with_interval([theirs[0] / own[0] for theirs, own in runs]),
        "decode": median_with_interval(decoded) if decoded else None,
    }


def median_with_interval(values: Sequence[float]) -> dict[str, Any]:
    """The median and its 95 % interval from order statistics, free of any distribution; none below six values.

    The k-th smallest and k-th largest of n leave the true median out with probability 2·P(Bin(n, ½) < k).
    """
    ordered, count = sorted(values), len(values)
    outside, taken = 0.0, 0
    while 2 * (outside + math.comb(count, taken) / 2**count) <= 0.05:
        outside += math.comb(count, taken) / 2**count
        taken += 1
    interval = [ordered[taken - 1], ordered[-taken]] if taken else None
    return {"ratio": float(np.median(ordered)), "ci95": interval}


def _quantiles(values: list[float]) -> dict[str, float]:
    low, high = np.quantile(values, [0.5, 0.95])
    return {"p50": float(low), "p95": float(high)}


@cache
def bfloat16_gains() -> bool:
    """Are products in bfloat16 clearly quicker than in float32 on this machine? Measured once and kept.

    A processor that lists the instructions need not gain by them: without a matrix unit some take twice as long.
    """
    name = key(bfloat16=torch.cpu.get_capabilities(), threads=torch.get_num_threads(), torch=torch.__version__)
    kept = store().get(name)
    if kept is None:
        kept = {"gain": _gain_of_bfloat16()}
        store().put(name, kept, model="", recipe="")
    return bool(kept["gain"] > WORTH)


def _gain_of_bfloat16() -> float:
    """float32 time / bfloat16 time of a product of a small model's size, the least of runs in turn."""
    x, weight = torch.randn(256, 576), torch.randn(1536, 576)
    operands = {dtype: (x.to(dtype), weight.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    taken: dict[torch.dtype, list[float]] = {dtype: [] for dtype in operands}
    for _ in range(PRODUCTS):
        for dtype, (left, right) in operands.items():
            started = time.perf_counter()
            nn.functional.linear(left, right)
            taken[dtype].append(time.perf_counter() - started)
    return min(taken[torch.float32]) / min(taken[torch.bfloat16])
