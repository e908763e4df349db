"""Clocks are read fairly: warm-up apart, base and setting in turn, what is reported is what was timed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from reparam_core import apply, load
from reparam_core.apply import Setting
from reparam_core.measure import latency as module
from reparam_core.measure.evaluation import evaluation

Timed = tuple[float, float | None]


@pytest.fixture(scope="module")
def setting() -> Setting:
    return apply(load("embedded-decoder"), "svd:0.5 + rtn:4")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[torch.nn.Module]:
    """Which module was timed when; the nth reading is n milliseconds."""
    read: list[torch.nn.Module] = []

    def timed(one: torch.nn.Module, inputs: object, decode: int) -> Timed:
        read.append(one)
        return float(len(read)), float(len(read)) if decode else None

    monkeypatch.setattr(module, "_timed", timed)
    return read


def test_base_and_setting_are_timed_in_turn_after_a_warm_up(setting: Setting, clock: list[torch.nn.Module]) -> None:
    inputs = {"input_ids": torch.arange(2, 34)[None]}
    found = module.latency(setting, inputs, runs=5)
    assert clock == [setting.module, setting.model.module] * 6
    assert found["setting"]["prefill_ms"]["p50"] == np.median([3, 5, 7, 9, 11])  # the first pair warmed up
    assert found["base"]["prefill_ms"]["p50"] == np.median([4, 6, 8, 10, 12])
    assert found["base"]["decode_ms_per_token"]["p95"] == np.quantile([4, 6, 8, 10, 12], 0.95)


def test_it_says_what_was_timed(setting: Setting, clock: list[torch.nn.Module]) -> None:
    steps = list(module.latency_steps(setting, {"input_ids": torch.ones(3, 20, dtype=torch.int64)}, runs=3))
    assert [one.get("runs", 0) for one in steps] == [0, 0, 0, 1, 1, 2, 2, 3]  # a warm-up of both, then pass by pass
    found = steps[-1]
    assert (found["tokens"], found["batch"], found["threads"]) == (20, 1, torch.get_num_threads())
    assert set(found) == {"setting", "base", "speed", "tokens", "batch", "threads", "runs"}
    assert set(found["setting"]) == set(found["base"]) == {"prefill_ms", "decode_ms_per_token", "kernel"}
    assert found["base"]["kernel"] == "dense matrix product"
    assert all(form.kernel in found["setting"]["kernel"] for form in setting.forms.values())


def test_decoding_reads_every_token_that_came_before(setting: Setting) -> None:
    """Each step goes on from kept keys and values: one token in, not the whole text again."""
    seen: list[tuple[int, int]] = []

    def watch(_: torch.nn.Module, arguments: tuple[()], named: dict[str, Any]) -> None:
        kept = named.get("past_key_values")
        seen.append((named["input_ids"].shape[1], kept.get_seq_length() if kept is not None else 0))

    with setting.module.register_forward_pre_hook(watch, with_kwargs=True):
        module.latency(setting, {"input_ids": torch.arange(2, 34)[None]}, runs=1, decode=3)
    assert seen == [(32, 0), (1, 32), (1, 33), (1, 34)] * 2


@pytest.mark.parametrize("name", ["embedded-seq2seq", "embedded-encoder-pretrained"])
def test_what_does_not_write_token_by_token_has_no_time_for_it(name: str) -> None:
    model = load(name)
    source = {"seq2seq": "dates", "masked": "reviews"}[model.objective]
    found = module.latency(apply(model, "rtn:8"), evaluation(model, source, 2, 32).probes[0].inputs, runs=1)
    assert found["setting"]["decode_ms_per_token"] is found["base"]["decode_ms_per_token"] is None
    assert found["setting"]["prefill_ms"]["p50"] > 0


def test_a_pass_yields_so_that_others_need_not_wait_for_all_of_them(
    setting: Setting, clock: list[torch.nn.Module]
) -> None:
    steps: Iterator[dict[str, Any]] = module.latency_steps(setting, {"input_ids": torch.ones(1, 8).long()}, runs=10**9)
    assert [len(clock) for _, _ in zip(range(3), steps, strict=False)] == [1, 2, 3]


def test_the_speed_is_the_median_of_runs_side_by_side(setting: Setting, clock: list[torch.nn.Module]) -> None:
    found = module.latency(setting, {"input_ids": torch.arange(2, 34)[None]}, runs=7)
    ratios = sorted(base / own for own, base in zip(range(3, 17, 2), range(4, 18, 2), strict=True))
    assert found["speed"]["prefill"] == {"ratio": ratios[3], "ci95": [ratios[0], ratios[-1]]}
    assert found["speed"]["decode"] == found["speed"]["prefill"]


@pytest.mark.parametrize(("count", "left_out"), [(5, None), (6, 0), (8, 0), (9, 1), (20, 5)])
def test_the_interval_of_a_median_is_that_of_the_sign_test(count: int, left_out: int | None) -> None:
    """Tabulated: with 9 values the second and the eighth, with 20 the sixth and the fifteenth."""
    found = module.median_with_interval([float(one) for one in reversed(range(count))])
    assert found["ratio"] == (count - 1) / 2
    assert found["ci95"] == (None if left_out is None else [left_out, count - 1 - left_out])


def test_the_interval_of_a_median_covers_it_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).lognormal(sigma=0.3, size=(2000, 15))  # true median 1
    found = [module.median_with_interval(list(row))["ci95"] for row in draws]
    assert np.mean([low <= 1 <= high for low, high in found]) > 0.95


@pytest.mark.usefixtures("own_store")
@pytest.mark.parametrize(("gain", "gains"), [(0.5, False), (1.1, False), (1.9, True)])
def test_whether_bfloat16_gains_is_measured_once_and_kept(
    gain: float, gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.bfloat16_gains.cache_clear()
    monkeypatch.setattr(module, "_gain_of_bfloat16", lambda: gain)
    assert module.bfloat16_gains() == gains
    module.bfloat16_gains.cache_clear()  # as in another process
    monkeypatch.setattr(module, "_gain_of_bfloat16", lambda: pytest.fail("measured again"))
    assert module.bfloat16_gains() == gains
    module.bfloat16_gains.cache_clear()
