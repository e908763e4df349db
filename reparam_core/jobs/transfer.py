"""How much more a setting costs on a text of another domain than that of its calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reparam_core.jobs.exploring import Point


@dataclass(frozen=True)
class Gap:
    """Δ nll outside of the calibration's domain less that within it, in nats, with its 95 % interval."""

    value: float
    interval: tuple[float, float] | None  # None where one of the two has none
    final: bool


def transfer_gap(outside: Point, inside: Point) -> Gap:
    """Of one setting on two texts, which are drawn apart: their intervals join as MOVER has it (Zou and Donner, 2008)."""
    value = outside.delta_nll - inside.delta_nll
    final = outside.final and inside.final
    if outside.nll_interval is None or inside.nll_interval is None:
        return Gap(value, None, final)
    (low, high), (least, most) = outside.nll_interval, inside.nll_interval
    below = math.hypot(outside.delta_nll - low, most - inside.delta_nll)
    above = math.hypot(high - outside.delta_nll, inside.delta_nll - least)
    return Gap(value, (value - below, value + above), final)
