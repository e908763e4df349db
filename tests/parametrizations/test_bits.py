"""Codes of any width lie side by side without a wasted bit, and come back as they were."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from reparam_core.parametrizations.bits import pack_bits, pack_mask, packed_bytes, unpack_bits, unpack_mask


def codes_below(bits: int) -> st.SearchStrategy[tuple[int, list[int]]]:
    return st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1), max_size=70))


@given(st.integers(1, 8).flatmap(codes_below))
def test_codes_are_the_digits_of_one_long_number(asked: tuple[int, list[int]]) -> None:
    bits, codes = asked
    packed = pack_bits(torch.tensor(codes, dtype=torch.uint8), bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == packed_bytes(len(codes), bits) == -(-len(codes) * bits // 8)
    assert int.from_bytes(bytes(packed.tolist()), "little") == sum(code << i * bits for i, code in enumerate(codes))
    assert unpack_bits(packed, bits, len(codes)).tolist() == codes


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_mask_is_a_bit_an_element(rows: int, columns: int, seed: int) -> None:
    mask = torch.from_numpy(np.random.default_rng(seed).random((rows, columns)) < 0.5)
    packed = pack_mask(mask)
    assert len(packed) == packed_bytes(mask.numel(), 1)
    assert torch.equal(unpack_mask(packed, (rows, columns)), mask)


def test_a_transposed_matrix_is_packed_in_its_own_row_order() -> None:
    codes = torch.arange(6, dtype=torch.uint8).view(2, 3).T
    assert unpack_bits(pack_bits(codes, 3), 3, 6).tolist() == [0, 3, 1, 4, 2, 5]
