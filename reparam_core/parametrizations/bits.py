"""Dense storage of small integers and of masks: no bit is wasted but the last byte's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that `count` integers of `bits` bits take."""
    return (count * bits + 7) // 8


def pack_bits(codes: Tensor, bits: int) -> Tensor:
    """uint8 codes below 2**bits (any shape) → uint8 bytes, little end first."""
    flat = codes.reshape(-1).to(torch.uint8).numpy()
    if bits == 8:
        return torch.from_numpy(flat.copy())
    unpacked = np.unpackbits(flat[:, None], axis=1, bitorder="little", count=bits)
    return torch.from_numpy(np.packbits(unpacked.reshape(-1), bitorder="little"))


def unpack_bits(packed: Tensor, bits: int, count: int) -> Tensor:
    """`pack_bits`'s inverse: the first `count` codes, uint8 of shape (count,)."""
    if bits == 8:
        return packed[:count].clone()
    flags = np.unpackbits(packed.numpy(), bitorder="little", count=count * bits).reshape(count, bits)
    return torch.from_numpy(np.packbits(flags, axis=1, bitorder="little").reshape(-1))


def pack_mask(mask: Tensor) -> Tensor:
    """A boolean mask (any shape) → one bit an element."""
    return torch.from_numpy(np.packbits(mask.reshape(-1).numpy(), bitorder="little"))


def unpack_mask(packed: Tensor, shape: tuple[int, int]) -> Tensor:
    """`pack_mask`'s inverse."""
    flags = np.unpackbits(packed.numpy(), bitorder="little", count=shape[0] * shape[1])
    return torch.from_numpy(flags.astype(bool).reshape(shape))
