"""Activations rounded as they come: every token on grids of its own, made from the numbers that it has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

SMALLEST = 1e-30  # of a grid's largest number: a step of zero would divide by it
FINEST = torch.finfo(torch.float16).tiny  # step of a float16 grid


def rounded_symmetric(x: Tensor, bits: int) -> Tensor:
    """x (..., channels) in float32, each token on one grid that lies evenly around zero."""
    step = x.abs().amax(-1, keepdim=True).clamp_min(SMALLEST) / (2 ** (bits - 1) - 1)
    return (x / step).round_() * step


def rounded_by_group(x: Tensor, bits: int, group: int) -> Tensor:
    """x (..., channels) in float32, each token's every `group` neighbours on one grid from their least to their greatest.

    Steps are float16, as a cache would keep them; the last group may be a ragged one.
    """
    grouped = pad(x, (0, -x.shape[-1] % group)).unflatten(-1, (-1, group))
    low, high = grouped.amin(-1, keepdim=True).clamp_max(0), grouped.amax(-1, keepdim=True).clamp_min(0)
    step = ((high - low) / (2**bits - 1)).half().float().clamp_min(FINEST)
    zero = (-low / step).round_()
    codes = (grouped / step + zero).round_().clamp_(0, 2**bits - 1)
    return ((codes - zero) * step).flatten(-2)[..., : x.shape[-1]]
