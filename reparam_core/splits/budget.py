"""A budget shared out over matrices: each has options that cost and lose, and the least loss in all is wanted."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Option(Generic[K]):
    """One way that a matrix can be had: what it is, what it loses and what it costs."""

    what: K
    loss: float
    cost: float


def least_loss(options: Mapping[str, Sequence[Option[K]]], budget: float) -> dict[str, K]:
    """An option for each matrix: the least sum of losses at that cost in all, greedily.

    Every matrix begins at its cheapest; what is left goes where it takes most loss for its cost. Of a matrix only the
    options on the lower hull of loss over cost are steps, so that gains fall and the greedy order is optimal but for the
    last step.
    """
    hulls = {role: _hull(found) for role, found in options.items()}
    at = dict.fromkeys(hulls, 0)
    left = budget - sum(hull[0].cost for hull in hulls.values())
    queue = [(-_gain(hull[0], hull[1]), role) for role, hull in hulls.items() if len(hull) > 1]
    heapq.heapify(queue)
    while queue:
        _, role = heapq.heappop(queue)
        hull, here = hulls[role], at[role]
        cost = hull[here + 1].cost - hull[here].cost
        if cost > left:  # what is next best may be smaller
            continue
        left, at[role] = left - cost, here + 1
        if here + 2 < len(hull):
            heapq.heappush(queue, (-_gain(hull[here + 1], hull[here + 2]), role))
    return {role: hull[at[role]].what for role, hull in hulls.items()}


def _gain(own: Option[K], following: Option[K]) -> float:
    """Loss that the step from one option to the next takes off, for what it costs."""
    return (own.loss - following.loss) / (following.cost - own.cost)


def _hull(options: Sequence[Option[K]]) -> list[Option[K]]:
    """By cost, only what lies on the lower hull: each next one takes less loss for its cost than the one before."""
    found: list[Option[K]] = []
    for one in sorted(options, key=lambda option: (option.cost, option.loss)):
        if found and one.loss >= found[-1].loss:
            continue
        while len(found) > 1 and _gain(found[-2], found[-1]) <= _gain(found[-1], one):
            found.pop()
        found.append(one)
    return found
