"""A smaller matrix at its places, with what is added to its answers."""

import json

import pytest
import torch
from torch import Tensor

from reparam_core.parametrizations import Dense, Quantized, Sliced, Sparse, unpack

SHAPE = (6, 9)
ROWS, COLUMNS = torch.tensor([0, 2, 5]), torch.tensor([1, 3, 4, 8])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sliced(rows: Tensor | None, columns: Tensor | None, bias: bool) -> Sliced:
    kept = tuple(SHAPE[i] if one is None else len(one) for i, one in enumerate((rows, columns)))
    return Sliced(Dense(drawn(*kept)), SHAPE, rows, columns, drawn(kept[0], seed=1) if bias else None)


NONE = torch.tensor([], dtype=torch.int64)
EVERY = pytest.mark.parametrize(
    ("rows", "columns"), [(None, COLUMNS), (ROWS, None), (ROWS, COLUMNS), (None, None), (None, NONE)]
)
EITHER = pytest.mark.parametrize("bias", [False, True])


@EVERY
@EITHER
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_answers_as_its_matrix_and_adds_its_bias_where_rows_are(
    rows: Tensor | None, columns: Tensor | None, bias: bool, dtype: torch.dtype
) -> None:
    form, x = sliced(rows, columns, bias), drawn(2, 5, 9, seed=2)
    wide, there = torch.zeros(SHAPE), torch.zeros(6)
    places = [torch.arange(count) if one is None else one for count, one in zip(SHAPE, (rows, columns), strict=True)]
    wide[places[0][:, None], places[1]] = form.inner.dense()
    if form.bias is not None:
        there[places[0]] = form.bias
    assert torch.equal(form.dense(), wide)
    assert form(x.to(dtype)).dtype == dtype
    close = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(form(x.to(dtype)).float(), x @ wide.T + there, rtol=close, atol=close)
    assert form.exact == (not bias)
    assert form.operations == form.inner.parameters_kept
    assert form.parameters_kept - form.operations == (len(places[0]) if bias else 0)
    assert form.kernel.endswith("bias") == bias


@EVERY
@EITHER
@pytest.mark.parametrize("storage", [torch.float16, torch.bfloat16, torch.float32])
def test_it_is_packed_in_the_bytes_foretold_and_comes_back_exactly(
    rows: Tensor | None, columns: Tensor | None, bias: bool, storage: torch.dtype
) -> None:
    form = sliced(rows, columns, bias).stored(storage)
    assert form.stored(storage) is form
    spec, tensors = form.pack()
    assert {name: (one.dtype, tuple(one.shape)) for name, one in tensors.items()} == form.layout
    assert sum(one.nbytes for one in tensors.values()) == form.nbytes
    assert ("bias" in tensors) == bias
    assert not bias or tensors["bias"].dtype == storage
    again, x = unpack(json.loads(json.dumps(spec)), tensors), drawn(3, 9, seed=2)
    assert torch.equal(again(x), form(x))
    assert again.layout == form.layout


def test_a_bias_costs_as_many_numbers_as_there_are_rows() -> None:
    with_one, without = (sliced(ROWS, COLUMNS, bias).stored(torch.float16) for bias in (True, False))
    assert with_one.nbytes - without.nbytes == 2 * len(ROWS)


def test_what_becomes_of_the_matrix_leaves_the_bias_alone() -> None:
    form, x = sliced(None, COLUMNS, True), drawn(3, 9, seed=2)
    (leaf,) = form.leaves()
    assert torch.equal(leaf.weight, form.inner.dense())
    codes = torch.arange(24, dtype=torch.uint8).view(6, 4) % 16
    other = Quantized(codes, torch.full((6, 1), 0.5).half(), None, 4, None)
    made = form.replace(leaf.path, other)
    torch.testing.assert_close(made(x), other(x[:, COLUMNS]) + form.bias)


@EITHER
def test_where_no_column_is_left_there_is_nothing_to_work_on(bias: bool) -> None:
    form = sliced(None, NONE, bias)
    assert not form.leaves()
    assert not form.operations
    assert form.kernel == ("no product, only a bias" if bias else "no product: nothing of the matrix is left")


def test_what_is_cut_again_adds_both_and_keeps_one() -> None:
    first, second = (
        sliced(None, COLUMNS, True),
        Sliced(Dense(drawn(6, 2)), (6, 4), None, torch.tensor([0, 3]), drawn(6)),
    )
    made, x = first.replace("inner", second), drawn(3, 9, seed=2)
    assert isinstance(made, Sliced)
    assert first.bias is not None
    torch.testing.assert_close(made(x), second(x[:, COLUMNS]) + first.bias)
    assert [name for name in made.layout if name.endswith("bias")] == ["inner.bias"]
    assert torch.equal(unpack(*made.pack())(x), made(x))
    assert not made.exact


@pytest.mark.parametrize("rows", [torch.tensor([1, 4]), NONE])
def test_a_row_that_goes_takes_its_bias_along(rows: Tensor) -> None:
    first, x = sliced(None, COLUMNS, True), drawn(3, 9, seed=2)
    made = first.replace("inner", Sliced(Dense(first.inner.dense()[rows]), (6, 4), rows, None))
    expected = torch.zeros(3, 6)
    expected[:, rows] = first(x)[:, rows]
    torch.testing.assert_close(made(x), expected)
    assert made.parameters_kept == 5 * len(rows)
    assert made.exact == (not len(rows))


def test_a_pruned_matrix_that_is_cut_keeps_the_bias() -> None:
    mask = torch.arange(54).view(SHAPE) % 3 > 0
    weight, bias = drawn(*SHAPE) * mask, drawn(6, seed=1)
    cut = Sliced(Dense(weight[:, COLUMNS]), SHAPE, None, COLUMNS, bias)
    made, x = Sparse(mask, Dense(weight)).replace("values", cut), drawn(3, 9, seed=2)
    assert isinstance(made, Sliced)
    assert not made.dense()[~mask].any()
    torch.testing.assert_close(made(x), x[:, COLUMNS] @ weight[:, COLUMNS].T + bias)
    assert torch.equal(unpack(*made.pack())(x), made(x))
