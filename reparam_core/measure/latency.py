"""Wall clock of base and setting, interleaved in one process."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reparam_core.apply import Setting, base


def latency(setting: Setting, ids: Tensor, runs: int = 7, decode: int = 8) -> dict[str, Any]:
    """Prefill of ids (1, L) and greedy decoding after it: median and p95 in milliseconds, after one warm-up."""
    modules = {"setting": setting.module, "base": base(setting.model, setting.dtype).module}
    causal = setting.model.objective == "causal"
    times: dict[str, list[tuple[float, float | None]]] = {name: [] for name in modules}
    for run in range(runs + 1):
        for name, module in modules.items():
            taken = _timed(module, ids, decode if causal else 0)
            if run:
                times[name].append(taken)
    kernels = {form.kernel for form in setting.forms.values()} or {"dense matrix product"}
    found = {name: _summary(values) for name, values in times.items()}
    found["setting"]["kernel"], found["base"]["kernel"] = "; ".join(sorted(kernels)), "dense matrix product"
    return found | {"tokens": ids.shape[1], "batch": 1, "threads": torch.get_num_threads(), "runs": runs}


def _timed(module: nn.Module, ids: Tensor, decode: int) -> tuple[float, float | None]:
    with torch.inference_mode():
        started = time.perf_counter()
        answer = module(input_ids=ids, use_cache=True) if decode else module(input_ids=ids)
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
