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


TRITS = 5  # numbers of three levels in a byte: 3⁵ = 243
_PLACES = 3 ** np.arange(TRITS, dtype=np.uint8)


def packed_codes_bytes(count: int, levels: int) -> int:
    """Bytes that `count` codes below `levels` take: 1.6 bits each of three levels, whole bits otherwise."""
    return -(-count // TRITS) if levels == 3 else packed_bytes(count, _bits(levels))


def pack_codes(codes: Tensor, levels: int) -> Tensor:
    """uint8 codes below `levels` (any shape) → uint8 bytes."""
    if levels != 3:
        return pack_bits(codes, _bits(levels))
    flat = codes.reshape(-1).to(torch.uint8).numpy()
    padded = np.pad(flat, (0, -len(flat) % TRITS)).reshape(-1, TRITS)
    return torch.from_numpy((padded * _PLACES).sum(1, dtype=np.uint8))


def unpack_codes(packed: Tensor, levels: int, count: int) -> Tensor:
    """`pack_codes`'s inverse: the first `count` codes, uint8 of shape (count,)."""
    if levels != 3:
        return unpack_bits(packed, _bits(levels), count)
    return torch.from_numpy((packed.numpy()[:, None] // _PLACES % 3).reshape(-1)[:count].copy())


def _bits(levels: int) -> int:
    return max(1, (levels - 1).bit_length())


def pack_mask(mask: Tensor) -> Tensor:
    """A boolean mask (any shape) → one bit an element."""
    return torch.from_numpy(np.packbits(mask.reshape(-1).numpy(), bitorder="little"))


def unpack_mask(packed: Tensor, shape: tuple[int, int]) -> Tensor:
    """`pack_mask`'s inverse."""
    flags = np.unpackbits(packed.numpy(), bitorder="little", count=shape[0] * shape[1])
    return torch.from_numpy(flags.astype(bool).reshape(shape))
