"""Every form, nested in every legal way, against a plain computation of the matrix that it stands for."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reparam_core.errors import ReparamError
from reparam_core.parametrizations import Dense, LowRank, Parametrization, Quantized, Scaled, Sparse, Sum, unpack
from reparam_core.parametrizations.quantized import Group, grid_shape

Shape = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """A form beside what it must be: the matrix, how many numbers it keeps, and how many bits those take at least."""

    form: Parametrization
    matrix: np.ndarray
    numbers: int
    bits: int

    def close(self, found: torch.Tensor, expected: np.ndarray, share: float = 1e-5) -> None:
        scale = max(1.0, float(np.abs(self.matrix).max()))
        torch.testing.assert_close(found.double(), torch.from_numpy(expected).double(), rtol=share, atol=share * scale)


def dense(shape: Shape, draw: np.random.Generator) -> Case:
    values = draw.normal(size=shape).astype(np.float16)
    return Case(Dense(torch.from_numpy(values)), values.astype(np.float64), values.size, 16 * values.size)


def quantized(shape: Shape, draw: np.random.Generator) -> Case:
    """Grids of any width and group, ragged last ones included; zero points that are codes, lie anywhere, or are none."""
    bits = int(draw.integers(2, 9))
    group: Group = [None, "tensor", int(draw.integers(1, shape[1] + 2))][draw.integers(3)]
    rows, groups = grid_shape(shape, group)
    codes = draw.integers(0, 2**bits, shape).astype(np.uint8)
    scale = draw.uniform(0.01, 1, (rows, groups)).astype(np.float16)
    kind = draw.integers(3)
    zero = draw.integers(0, 2**bits, (rows, groups)).astype(np.uint8) if kind == 0 else None
    zero = draw.uniform(-2, 2**bits, (rows, groups)).astype(np.float16) if kind == 1 else zero
    width = group if isinstance(group, int) else shape[1]
    matrix = np.empty(shape)
    for i, j in np.ndindex(shape):
        place = (0 if group == "tensor" else i, j // width)
        matrix[i, j] = (int(codes[i, j]) - float(2 ** (bits - 1) if zero is None else zero[place])) * float(
            scale[place]
        )
    form = Quantized(
        torch.from_numpy(codes),
        torch.from_numpy(scale),
        None if zero is None else torch.from_numpy(zero),
        bits,
        group,
    )
    of_zero = 0 if zero is None else zero.size * (bits if zero.dtype == np.uint8 else 16)
    return Case(form, matrix, codes.size, bits * codes.size + 16 * scale.size + of_zero)


def scaled(shape: Shape, draw: np.random.Generator) -> Case:
    inner, columns = quantized(shape, draw), draw.uniform(0.1, 10, shape[1]).astype(np.float16)
    assert isinstance(inner.form, Quantized)
    form = Scaled(inner.form, torch.from_numpy(columns))
    return Case(form, inner.matrix * columns.astype(np.float64), inner.numbers, inner.bits + 16 * shape[1])


def sparse(shape: Shape, draw: np.random.Generator) -> Case:
    values = [dense, quantized, scaled][draw.integers(3)](shape, draw)
    mask = draw.random(shape) < draw.random()
    matrix, kept = np.where(mask, values.matrix, 0), int(mask.sum())
    inner = values.form
    if isinstance(inner, Dense):
        inner = Dense(torch.from_numpy(matrix.astype(np.float16)))
    coded = inner.inner if isinstance(inner, Scaled) else inner
    assert isinstance(inner, Dense | Quantized | Scaled)
    width = coded.bits if isinstance(coded, Quantized) else 16
    bits = mask.size + values.bits - width * (mask.size - kept)  # a bitmap, the grid, and the kept values
    return Case(Sparse(torch.from_numpy(mask), inner), matrix, kept, bits)


def low_rank(shape: Shape, draw: np.random.Generator) -> Case:
    rank = int(draw.integers(1, 5))
    left, right = (KINDS[draw.integers(len(KINDS))](one, draw) for one in ((shape[0], rank), (rank, shape[1])))
    form = LowRank(left.form, right.form)
    return Case(form, left.matrix @ right.matrix, left.numbers + right.numbers, left.bits + right.bits)


def total(shape: Shape, draw: np.random.Generator) -> Case:
    parts = [KINDS[draw.integers(len(KINDS))](shape, draw) for _ in range(draw.integers(1, 4))]
    matrix = np.sum([one.matrix for one in parts], axis=0)
    return Case(
        Sum([one.form for one in parts]), matrix, sum(one.numbers for one in parts), sum(one.bits for one in parts)
    )


# The shallow ones oftener: trees end.
KINDS = [dense, quantized, scaled, sparse, low_rank, total, dense, quantized, sparse]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(KINDS[:6]))
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    return kind(shape, np.random.default_rng(draw(st.integers(0, 2**32 - 1))))


@given(cases())
def test_a_form_is_the_matrix_that_it_stands_for(case: Case) -> None:
    assert case.form.shape == case.matrix.shape
    assert case.form.dense().dtype == torch.float32
    case.close(case.form.dense(), case.matrix)
    assert case.form.parameters_kept == case.form.operations == case.numbers


@given(cases(), st.sampled_from([torch.float32, torch.bfloat16]), st.booleans())
def test_it_multiplies_and_looks_up_as_that_matrix(case: Case, dtype: torch.dtype, beforehand: bool) -> None:
    if beforehand:
        case.form.materialize(dtype)
    x = torch.randn(3, 2, case.form.shape[1], generator=torch.Generator().manual_seed(0)).to(dtype)
    ids = torch.tensor([[0, case.form.shape[0] - 1]])
    share = 1e-4 if dtype == torch.float32 else 0.1
    assert case.form(x).dtype == case.form.lookup(ids, dtype).dtype == dtype
    case.close(case.form(x), x.double().numpy() @ case.matrix.T, share)
    case.close(case.form.lookup(ids, dtype), case.matrix[ids.numpy()], share)
    case.close(case.form.dense(), case.matrix)


@given(cases())
def test_packed_bytes_are_foretold_waste_less_than_a_byte_a_tensor_and_come_back_exactly(case: Case) -> None:
    spec, tensors = case.form.pack()
    assert {name: (one.dtype, tuple(one.shape)) for name, one in tensors.items()} == case.form.layout
    assert sum(one.nbytes for one in tensors.values()) == case.form.nbytes
    assert 0 <= 8 * case.form.nbytes - case.bits < 8 * len(tensors)
    again = unpack(json.loads(json.dumps(spec)), {name: one.clone() for name, one in tensors.items()})
    assert again.spec() == spec
    assert again.layout == case.form.layout
    assert torch.equal(again.dense(), case.form.dense())


@given(cases(), st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_what_is_stored_is_rounded_once(case: Case, storage: torch.dtype) -> None:
    once = case.form.stored(storage)
    assert {dtype for name, (dtype, _) in once.layout.items() if name.endswith("weight")} <= {storage}
    assert torch.equal(once.stored(storage).dense(), once.dense())
    assert torch.equal(unpack(*once.pack()).dense(), once.dense())
    case.close(case.form.dense(), case.matrix)  # the form itself is as before


@given(cases())
def test_leaves_are_the_places_that_replace_knows(case: Case) -> None:
    leaves, before = case.form.leaves(), case.form.dense()
    assert len({leaf.path for leaf in leaves}) == len(leaves)
    for leaf in leaves:
        assert leaf.weight.is_contiguous()
        assert leaf.weight.dtype == torch.float32
        same = case.form.replace(leaf.path, Dense(leaf.weight))
        assert torch.equal(same.dense(), before)
        doubled = case.form.replace(leaf.path, Dense(2 * leaf.weight))
        (found,) = [one for one in doubled.leaves() if one.path == leaf.path]
        assert torch.equal(found.weight, 2 * leaf.weight)
        assert torch.equal(case.form.dense(), before)
        assert leaf.mask is None or not leaf.weight[~leaf.mask].any()


@given(cases())
def test_no_other_place_can_be_replaced(case: Case) -> None:
    for path in ("elsewhere", "left.elsewhere", "values.elsewhere", "7", "0.elsewhere"):
        with pytest.raises(ReparamError, match="has no part"):
            case.form.replace(path, Dense(torch.zeros(case.form.shape)))


def test_pruning_what_is_pruned_keeps_what_both_keep() -> None:
    weight = torch.arange(1.0, 7).view(2, 3)
    first, second = torch.tensor([[1, 1, 0], [0, 1, 1]]).bool(), torch.tensor([[1, 0, 0], [1, 1, 1]]).bool()
    pruned = Sparse(first, Dense(weight * first))
    again = pruned.replace("values", Sparse(second, Dense(weight * first * second)))
    assert torch.equal(again.dense(), weight * (first & second))
    assert again.parameters_kept == 3


def test_a_pruned_matrix_cannot_be_factored() -> None:
    pruned = Sparse(torch.eye(4).bool(), Dense(torch.eye(4)))
    with pytest.raises(ReparamError, match="zeros would not stay zero"):
        pruned.replace("values", LowRank(Dense(torch.zeros(4, 1)), Dense(torch.zeros(1, 4))))


@given(cases(), st.data())
def test_a_packed_form_that_lacks_a_tensor_says_which(case: Case, data: st.DataObject) -> None:
    spec, tensors = case.form.pack()
    lost = data.draw(st.sampled_from(sorted(tensors)))
    with pytest.raises(ReparamError, match=f"lacks '{lost.rpartition('.')[2]}'"):
        unpack(spec, {name: one for name, one in tensors.items() if name != lost})


def test_an_unknown_form_names_the_known_ones() -> None:
    with pytest.raises(
        ReparamError, match=r"Unknown form of a weight: 'tucker'\. Known: .*dense, lookup_table, low_rank"
    ):
        unpack({"form": "tucker"}, {})


@pytest.mark.parametrize("shapes", [[], [(2, 3), (3, 2)]])
def test_a_sum_is_of_one_shape(shapes: list[Shape]) -> None:
    with pytest.raises(ReparamError, match="parts of one shape"):
        Sum([Dense(torch.zeros(shape)) for shape in shapes])


def test_a_factor_kept_transposed_is_read_as_its_matrix() -> None:
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).half()
    form = Dense(weight.T)
    assert form.shape == (3, 5)
    assert torch.equal(unpack(*form.pack()).dense(), weight.T.float())
    assert form.leaves()[0].weight.is_contiguous()


@pytest.mark.parametrize("pruned", [False, True])
def test_a_zero_point_between_codes_is_stored_as_it_is(pruned: bool) -> None:
    """Of either kind of zero point the other's file would be misread."""
    codes, scale = torch.arange(12, dtype=torch.uint8).view(3, 4), torch.full((3, 2), 0.5).half()
    forms: list[Parametrization] = [
        Quantized(codes, scale, zero, 4, 2) for zero in (torch.full((3, 2), 7.25).half(), torch.full((3, 2), 7).byte())
    ]
    if pruned:
        forms = [Sparse(codes % 3 > 0, form) for form in forms if isinstance(form, Quantized)]
    between, code = forms
    assert between.nbytes - code.nbytes == 6 * 2 - 6 * 4 // 8
    offset = torch.where(codes % 3 > 0, 0.125, 0) if pruned else 0.125
    torch.testing.assert_close(code.dense() - between.dense(), torch.zeros(3, 4) + offset, rtol=0, atol=0)
    for form in forms:
        assert torch.equal(unpack(*form.pack()).dense(), form.dense())


def test_pruned_places_are_told_to_the_leaves() -> None:
    mask = torch.eye(4).bool()
    (leaf,) = Sparse(mask, Dense(torch.eye(4))).leaves()
    assert leaf.path == "values"
    assert leaf.mask is not None
    assert torch.equal(leaf.mask, mask)
    left, right = LowRank(Sparse(mask, Dense(torch.eye(4))), Dense(torch.ones(4, 3))).leaves()
    assert (left.path, right.path) == ("left.values", "right")
    assert left.mask is not None
    assert right.mask is None
