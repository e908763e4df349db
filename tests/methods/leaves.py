"""Random matrices with the statistics of random inputs, for any registered method."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.settings import BitsSetting
from reparam_core.parametrizations import Leaf, Parametrization, Statistics
from reparam_core.registry import methods

Shape = tuple[int, int]


def matrix(shape: Shape, seed: int = 0) -> Tensor:
    """Of normal numbers, as float16 holds them."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).half().float()


def inputs(width: int, tokens: int = 400, seed: int = 1) -> Tensor:
    """X (tokens, width): channels of very different size that hang together."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(tokens, width, generator=generator) @ torch.randn(width, width, generator=generator)
    scale: Tensor = torch.linspace(-1, 1, width).exp()[torch.randperm(width, generator=generator)]
    return (mixed / width**0.5 + torch.randn(tokens, width, generator=generator) / 3) * scale


def statistics(x: Tensor, rows: int = 0) -> Statistics:
    """What is known of these inputs, of the gradients of so many rows under random ones of their outputs, and of the loss
    without each channel: larger, the more of it there is."""
    slopes = torch.randn(len(x), rows, generator=torch.Generator().manual_seed(2)) * torch.linspace(0.1, 1, rows)
    fisher = (slopes.T @ x).square().sum(1)
    return Statistics(len(x), x.T @ x, x.mean(0), x.abs().amax(0), "inputs", fisher=fisher, rises=x.square().mean(0))


def leaf(weight: Tensor, x: Tensor | None = None, **more: Any) -> Leaf:
    """The weight beside what is known of its inputs: random ones where none are given."""
    known = statistics(inputs(weight.shape[1]) if x is None else x, len(weight))
    return Leaf("", weight, statistics=known, **more)


def transformed(name: str, one: Leaf, setting: object, **own: Any) -> Parametrization:
    """That leaf by a method at a setting."""
    method, leaves = methods()[name](**own), unit_of(name, one)
    return method.at(method.prepare(leaves), leaves, setting)[next(iter(leaves))]


def unit_of(name: str, one: Leaf) -> dict[str, Leaf]:
    """What a method is given so that it can work on that leaf: the leaf first, and what goes together with it.

    Of a method that removes whole units the leaf is the matrix that leads out of a block, each column a unit; of one that
    removes whole layers it is in the lightest of ten, the last of them, which is missed least.
    """
    block = methods()[name]().block("layers.0.mlp.down")
    if block == "layers.0":
        known = one.statistics
        missed = None if known is None or known.rises is None else replace(known, rises=1 + known.rises)
        heavy = replace(one, weight=1e4 * (1 + one.weight.abs()), mask=None, statistics=missed)
        return {f"layers.{9 - place}.mlp.down": heavy if place else one for place in range(10)}
    if block == "layers.0.mlp.down":
        return {"w": one}
    into = Leaf("", matrix((one.weight.shape[1], 5), seed=9), head=1)
    stem, out, others = ("mlp", "down", ("up", "gate")) if block else ("attention", "o", ("q", "k", "v"))
    return {f"layers.0.{stem}.{out}": replace(one, head=1)} | {f"layers.0.{stem}.{other}": into for other in others}


def widths(name: str) -> tuple[int, ...]:
    """Bits that a method can take, rising."""
    return tuple(getattr(methods()[name], "widths", range(2, 9)))


def width(name: str, wanted: int) -> int:
    """The nearest of them."""
    return min(widths(name), key=lambda bits: abs(bits - wanted))


def fitting(name: str, wanted: BitsSetting) -> BitsSetting:
    """The setting nearest to that one which the method takes: some have few widths, or groups of their own."""
    bits = width(name, wanted.bits)
    symmetric = wanted.symmetric and getattr(methods()[name], "symmetric", True)
    own = wanted.model_copy(update={"bits": bits, "symmetric": symmetric})
    try:
        transformed(name, leaf(matrix((4, 32))), own)
    except ReparamError:
        return own.model_copy(update={"group": None})
    return own


def added(form: Parametrization) -> Tensor:
    """What the form answers beside W x, (out)."""
    answer: Tensor = form(torch.zeros(1, form.shape[1]))
    return answer[0]


def output_error(weight: Tensor, form: Parametrization, x: Tensor) -> float:
    """‖WX − W′X‖, with what the form adds to its answers."""
    return float((x.double() @ (weight - form.dense()).double().T - added(form).double()).norm())
