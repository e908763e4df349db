"""Interleaved timing: these machines are noisy, so only what ran side by side is compared."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True)
class Row:
    """One figure beside its target."""

    what: str
    value: float
    unit: str  # s, × …
    target: float
    at_least: bool = False  # the target is a floor, not a ceiling
    note: str = ""

    @property
    def reached(self) -> bool:
        """Does the figure keep its target?"""
        return self.value >= self.target if self.at_least else self.value <= self.target

    def cells(self) -> list[str]:
        """As a table shows it."""
        sign = "≥" if self.at_least else "≤"
        return [self.what, f"{self.value:.3g} {self.unit}", f"{sign} {self.target:g} {self.unit}",
                "yes" if self.reached else "**no**", self.note]  # fmt: skip

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """From what `to_json` made."""
        return cls(**{one.name: told[one.name] for one in fields(cls)})

    def to_json(self) -> dict[str, Any]:
        """With whether it is reached."""
        return asdict(self) | {"reached": self.reached}


def seconds(work: Callable[[], Any]) -> float:
    """Wall clock of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(works: Mapping[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Seconds of each work, one after the other in every run, after one warm-up of each."""
    for work in works.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            taken[name].append(seconds(work))
    return taken


def median_ratio(above: list[float], below: list[float]) -> float:
    """Median of the ratios of runs that stood side by side."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))
