"""Laws that every registered method keeps, found by the registry: a new method is tested by being there."""

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from reparam_core.errors import ReparamError
from reparam_core.methods.settings import SETTINGS, BitsSetting, RankSetting, SparsitySetting
from reparam_core.parametrizations import Dense, Leaf, Parametrization, Scaled, Sparse, unpack
from reparam_core.registry import AXES, methods
from tests.methods.leaves import (
    Shape,
    added,
    fitting,
    inputs,
    leaf,
    matrix,
    output_error,
    statistics,
    transformed,
    unit_of,
    widths,
)
from tests.test_registry import changed

FALLING: dict[str, list[Any]] = {
    "rank": [RankSetting(keep=keep) for keep in (1, 0.7, 0.4, 0.1)],
    "sparsity": [SparsitySetting(fraction=fraction) for fraction in (0, 0.3, 0.6, 0.9)],
    "bits": [BitsSetting(bits=bits, group=16) for bits in (8, 6, 4, 3, 2)],
}
EXTREME: dict[str, list[Any]] = {
    "rank": [RankSetting(keep=1), RankSetting(rank=1), RankSetting(energy=0.9)],
    "sparsity": [SparsitySetting(fraction=0), SparsitySetting(fraction=0.999), SparsitySetting(pattern="2:4"),
                 SparsitySetting(fraction=0.5, block=4)],
    "bits": [BitsSetting(bits=2), BitsSetting(bits=8, group=1), BitsSetting(bits=3, group=999),
             BitsSetting(bits=4, group="tensor"), BitsSetting(bits=4, group=16, symmetric=True)],
}  # fmt: skip
SHAPES = [(48, 32), (32, 48), (7, 33)]
EVERY = pytest.mark.parametrize("name", methods())
UNSTRUCTURED = [name for name, kind in methods("sparsity").items() if not kind.removes]
CALIBRATED = [name for name, kind in methods().items() if kind.needs]
OF_ONE_BLOCK = [
    name for name in CALIBRATED if methods()[name]().unit != "model"
]  # whose leaves here differ in what is known


def of_axis(axis: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", methods(axis))


def fitted(name: str, settings: dict[str, list[Any]]) -> list[Any]:
    """The settings of the method's axis, as near as the method takes them; each once."""
    kind = methods()[name]
    asked = [
        one
        for one in settings[kind.axis]
        if kind.patterns or not (getattr(one, "pattern", None) or getattr(one, "block", None))
    ]
    return list(dict.fromkeys(fitting(name, one) if isinstance(one, BitsSetting) else one for one in asked))


def falling(name: str) -> list[Any]:
    """From the closest to the smallest."""
    return fitted(name, FALLING)


def weak(name: str) -> Any:
    """A setting in the middle."""
    return falling(name)[len(falling(name)) // 2]


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
def test_shape_is_kept_and_what_is_given_untouched(name: str, shape: Shape) -> None:
    one = leaf(matrix(shape))
    assert one.statistics is not None
    given_ = (one.weight, one.statistics.gram, one.statistics.mean, one.statistics.peak)
    before = leaf(matrix(shape))
    assert before.statistics is not None
    form = transformed(name, one, weak(name))
    assert form.shape == shape == tuple(form.dense().shape)
    expected = (before.weight, before.statistics.gram, before.statistics.mean, before.statistics.peak)
    assert all(torch.equal(*pair) for pair in zip(given_, expected, strict=True))


@of_axis("rank")
def test_a_method_that_says_so_prepares_all_singular_values(name: str) -> None:
    method, leaves = methods()[name](), unit_of(name, leaf(matrix((48, 32))))
    found = [value for key, value in method.prepare(leaves).items() if key.endswith("sigma")]
    assert [len(one) for one in found] == ([32] if method.singular_values else [])
    assert all((one.diff() <= 0).all() for one in found)


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
def test_strongest_quality_reproduces_the_weight(name: str, shape: Shape) -> None:
    """Of codes every bit halves the error, in the norm that the method is about."""
    weight, x = matrix(shape), inputs(shape[1])
    axis, form = methods()[name].axis, transformed(name, leaf(weight, x), falling(name)[0])
    if axis == "bits":
        seen = x if name in CALIBRATED else torch.eye(shape[1])
        assert output_error(weight, form, seen) <= 2.0 ** (1 - widths(name)[-1]) * float((seen @ weight.T).norm())
    else:
        assert (form.dense() - weight).abs().max() <= {"rank": 1e-4, "sparsity": 0}[axis]


@EVERY
@pytest.mark.parametrize("shape", [(48, 32), (33, 48)])
def test_stronger_compression_is_never_larger_nor_closer(name: str, shape: Shape) -> None:
    """Closer in the norm that the method is about: the output's for calibrated ones, else the matrix's own."""
    weight = matrix(shape)
    x = inputs(shape[1]) if name in CALIBRATED else torch.eye(shape[1])
    forms = [transformed(name, leaf(weight, x), setting) for setting in falling(name)]
    sizes = [form.stored(torch.float16).nbytes for form in forms]
    errors = [output_error(weight, form, x) for form in forms]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == (2 if methods()[name]().unit == "model" else len(sizes))  # a layer is there or gone
    assert errors == sorted(errors)
    assert len(errors) == 1 or errors[-1] > 10 * errors[0]


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("storage", [None, torch.float16])
def test_packing_is_exact_and_counted(name: str, shape: Shape, storage: torch.dtype | None) -> None:
    """Also where the leaf's numbers were float16 already: what is measured is what the file holds."""
    form = transformed(name, leaf(matrix(shape), storage=storage), weak(name)).stored(torch.float16)
    spec, tensors = form.pack()
    assert sum(tensor.nbytes for tensor in tensors.values()) == form.nbytes
    assert not [key for key, tensor in tensors.items() if tensor.dtype == torch.float32 and not key.endswith("table")]
    again, x = unpack(spec, tensors), inputs(shape[1], 5)
    assert torch.equal(again.dense(), form.dense())
    torch.testing.assert_close(again(x), form(x), rtol=1e-4, atol=1e-5)


@EVERY
def test_forward_and_lookup_agree_with_the_dense_form(name: str) -> None:
    """Of the inputs as the form takes them: one that is not exact rounds them first, by a hundredth or so, or adds a bias."""
    form = transformed(name, leaf(matrix((48, 32))), weak(name)).stored(torch.float16)
    x, ids = matrix((5, 32), seed=1), torch.tensor([[0, 3], [47, 3]])
    torch.testing.assert_close(form(x), form.seen(x) @ form.dense().T + added(form), rtol=1e-4, atol=1e-4)
    assert (torch.equal(form.seen(x), x) and not added(form).any()) == form.exact
    assert (form.seen(x) - x).norm() < 0.02 * x.norm()
    torch.testing.assert_close(form.lookup(ids), form.dense()[ids], rtol=1e-4, atol=1e-4)


@EVERY
def test_one_position_of_the_slider_leaves_no_trace_in_the_next(name: str) -> None:
    method, leaves = methods()[name](), unit_of(name, leaf(matrix((16, 32))))
    prepared = method.prepare(leaves)
    before = {key: value.clone() for key, value in prepared.items()}
    positions = falling(name)
    once = [method.at(prepared, leaves, setting)[next(iter(leaves))].dense() for setting in positions]
    again = [method.at(prepared, leaves, setting)[next(iter(leaves))].dense() for setting in reversed(positions)]
    assert all(torch.equal(*pair) for pair in zip(once, reversed(again), strict=True))
    assert all(torch.equal(value, prepared[key]) for key, value in before.items())
    assert set(before) == set(prepared)
    assert bool(prepared) or not type(method).caches


@pytest.mark.parametrize("name", [name for name in CALIBRATED if methods()[name]().unit == "matrix"])
def test_a_method_that_reads_no_weight_says_so(name: str) -> None:
    """What is prepared is kept for all matrices with the same inputs then, and for each alone otherwise."""
    method, x = methods()[name](), inputs(32)
    made, other = (method.prepare({"w": leaf(matrix((16, 32), seed), x)}) for seed in (1, 2))
    assert all(torch.equal(value, other[key]) for key, value in made.items()) == (not method.reads_weight)


@pytest.mark.parametrize("name", [name for name, kind in methods().items() if kind.prepared_by is not None])
def test_preparing_reads_those_fields_and_no_others(name: str) -> None:
    """What is prepared is kept under them: another value of one is other work, of any other field the same."""
    kind, leaves = methods()[name], unit_of(name, leaf(matrix((16, 32))))
    plain = kind()
    made, told = plain.prepare(leaves), set[str]()
    for other in changed(kind):
        found = other.prepare(leaves)
        same = all(torch.equal(value, made[key]) for key, value in found.items())
        assert same == (other.identity_prepared() == plain.identity_prepared()), other
        told |= set() if same else {key for key, value in other.identity().items() if plain.identity()[key] != value}
    assert told == kind.prepared_by


def extremes() -> dict[str, tuple[Tensor, Tensor]]:
    """Weights and inputs at the edge of what there is."""
    w, x = matrix((7, 33)), inputs(33)
    dead = x.clone()
    dead[:, [0, 7, 32]] = 0
    outlier = w.clone()
    outlier[3, 5] = 6e4
    return {
        "a channel is never used": (w, dead), "no channel is used": (w, torch.zeros_like(x)),
        "fewer tokens than channels": (w, x[:5]), "one token": (w, x[:1]), "twice the same channel": (w, x[:, [0] * 33]),
        "all zero": (torch.zeros_like(w), x), "all the same": (torch.full_like(w, 0.7), x),
        "far from zero": (1000 + w, x), "tiny": (w * 1e-4, x), "an outlier": (outlier, x),
        "inputs that are tiny": (w, x * 1e-6), "one row": (w[:1], x), "one column": (w[:, :1], x[:, :1]),
    }  # fmt: skip


@EVERY
@pytest.mark.parametrize("case", extremes())
def test_at_the_edge_every_number_is_finite(name: str, case: str) -> None:
    weight, x = extremes()[case]
    for setting in fitted(name, EXTREME):
        narrow = min(weight.shape) if getattr(setting, "block", None) else weight.shape[1]
        if narrow < 4 and (getattr(setting, "pattern", None) or getattr(setting, "block", None)):
            continue
        form = transformed(name, leaf(weight, x), setting).stored(torch.float16)
        error = (form.dense() - weight).norm()
        assert torch.isfinite(form.dense()).all(), setting
        assert torch.isfinite(form(x)).all(), setting
        if name not in CALIBRATED:
            assert error <= 1.5 * weight.norm() + 1e-5, setting


@EVERY
@pytest.mark.parametrize("what", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [0, -1])
def test_a_weight_that_is_not_finite_is_refused(name: str, what: float, place: int) -> None:
    weight = matrix((8, 32))
    weight[2, 5] = what
    with pytest.raises(ReparamError, match="not finite") as caught:
        transformed(name, leaf(weight), fitted(name, EXTREME)[place])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CALIBRATED)
@pytest.mark.parametrize("what", [torch.nan, torch.inf])
def test_inputs_that_are_not_finite_are_refused(name: str, what: float) -> None:
    known = statistics(inputs(32), 8)
    known.gram[4, 4] = what
    with pytest.raises(ReparamError, match=r"not finite\. Take another text"):
        transformed(name, Leaf("", matrix((8, 32)), statistics=known), weak(name))


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_calibrated_method_asks_for_statistics(name: str) -> None:
    with pytest.raises(ReparamError, match="needs the statistics of a matrix's inputs"):
        transformed(name, Leaf("", matrix((8, 32))), weak(name))


def pruned_leaf(shape: Shape, share: float, seed: int = 3) -> tuple[Sparse, Leaf, Tensor]:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) >= share
    form = Sparse(mask, Dense(matrix(shape) * mask))
    (one,) = form.leaves(statistics(inputs(shape[1])))
    return form, one, mask


@pytest.mark.parametrize("name", [*methods("sparsity"), *methods("bits")])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_zeros_stay_zero(name: str, shape: Shape, share: float) -> None:
    form, one, mask = pruned_leaf(shape, share)
    for setting in (weak(name), *fitted(name, EXTREME)):
        made = form.replace("values", transformed(name, one, setting)).stored(torch.float16)
        assert not made.dense()[~mask].any(), setting
        assert torch.equal(unpack(*made.pack()).dense(), made.dense())
        assert torch.isfinite(made.dense()).all()


@of_axis("bits")
@pytest.mark.parametrize("group", [None, "tensor", 16])
@pytest.mark.parametrize("symmetric", [False, True])
def test_what_was_pruned_has_no_say_in_what_is_left(name: str, group: int | str | None, symmetric: bool) -> None:
    """Every other column is gone: the rest reads as a matrix of the rest would, or loses hardly more of the output.

    Of a ragged last group the rest is ragged too.
    """
    weight, x, columns = 3 + matrix((64, 24)), inputs(24), torch.arange(1, 24, 2)
    mask = torch.zeros(64, 24, dtype=torch.bool).index_fill_(1, columns, True)
    wanted = BitsSetting.model_validate({"bits": 2, "group": group, "symmetric": symmetric})
    half = wanted.model_copy(update={"group": group // 2 if isinstance(group, int) else group})
    mine = transformed(name, leaf(weight * mask, x, mask=mask), fitting(name, wanted)).dense()[:, columns]
    alone = transformed(name, leaf(weight[:, columns], x[:, columns]), fitting(name, half))
    if name in CALIBRATED:
        lost, least = (output_error(weight[:, columns], one, x[:, columns]) for one in (Dense(mine), alone))
        assert lost <= 1.1 * least  # its search or walk goes by other steps
    else:
        assert torch.equal(mine, alone.dense())


@of_axis("bits")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("group", [None, "tensor", 8, 16, 999])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_grid_is_no_wider_than_its_bits(name: str, shape: Shape, group: int | str | None, symmetric: bool) -> None:
    setting = fitting(name, BitsSetting.model_validate({"bits": 3, "group": group, "symmetric": symmetric}))
    whole: Any = transformed(name, leaf(matrix(shape)), setting)
    form: Any = whole.inner if isinstance(whole, Scaled) else whole  # what the columns were scaled by lies on no grid
    values, levels = form.dense(), 2**setting.bits
    columns = form.group if isinstance(form.group, int) else shape[1]
    pieces = values.split(columns, 1) if form.group != "tensor" else [values.reshape(1, -1)]
    assert int(whole.codes.max()) < levels
    assert all(len(row.unique()) <= levels for piece in pieces for row in piece)
    if isinstance(setting.group, int) and setting.group > shape[1]:
        rows = transformed(name, leaf(matrix(shape)), setting.model_copy(update={"group": None}))
        assert torch.equal(whole.dense(), rows.dense())


@pytest.mark.parametrize("name", UNSTRUCTURED)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8", "3:5", "1:2", "7:32"])
def test_a_pattern_holds_in_every_group(name: str, shape: Shape, pattern: str) -> None:
    """A ragged last group keeps as many, where it has them; nothing more goes than has to."""
    kept, of = map(int, pattern.split(":"))
    form = transformed(name, leaf(matrix(shape)), SparsitySetting(pattern=pattern))
    for group in (form.dense() != 0).split(of, 1):
        assert (group.sum(1) == min(kept, group.shape[1])).all()


@pytest.mark.parametrize("name", UNSTRUCTURED)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("side", [2, 4])
def test_blocks_go_as_a_whole_and_as_many_as_was_asked_for(name: str, shape: Shape, side: int) -> None:
    """Squares, narrower at the end of a row or column."""
    form = transformed(name, leaf(matrix(shape)), SparsitySetting(fraction=0.5, block=side))
    squares = [one for rows in (form.dense() == 0).split(side, 0) for one in rows.split(side, 1)]
    assert all(one.all() or not one.any() for one in squares)
    assert sum(bool(one.all()) for one in squares) == len(squares) // 2


@pytest.mark.parametrize("name", UNSTRUCTURED)
def test_a_block_larger_than_the_matrix_is_one_line(name: str) -> None:
    with pytest.raises(ReparamError, match="Blocks of 8 × 8 do not fit a matrix of 7 × 33"):
        transformed(name, leaf(matrix((7, 33))), SparsitySetting(fraction=0.5, block=8))


@pytest.mark.parametrize("name", UNSTRUCTURED)
def test_a_pattern_wider_than_the_rows_is_one_line(name: str) -> None:
    with pytest.raises(ReparamError, match="A pattern of 2:4 needs rows of at least 4 numbers; these have 3"):
        transformed(name, leaf(matrix((8, 3))), SparsitySetting(pattern="2:4"))


@pytest.mark.parametrize("name", UNSTRUCTURED)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fraction", [0, 0.01, 0.5, 0.77, 0.999])
def test_as_much_goes_as_was_asked_for(name: str, shape: Shape, fraction: float) -> None:
    """To the number: of every row, or of the matrix where the method compares its rows."""
    form = transformed(name, leaf(matrix(shape)), SparsitySetting(fraction=fraction))
    assert isinstance(form, Sparse)
    rows, zeros = shape[0], int((form.dense() == 0).sum())
    assert zeros in (rows * int(fraction * shape[1]), int(fraction * shape[0] * shape[1]))
    assert form.kept == int(form.mask.sum()) == shape[0] * shape[1] - zeros


@pytest.mark.parametrize("axis", SETTINGS)
def test_methods_exist_for_every_axis_and_say_what_they_do(axis: str) -> None:
    assert all(3 <= len(kind.summary.split()) <= 8 for kind in methods(axis).values())
    assert methods(axis)


@given(
    st.tuples(*(st.sampled_from(UNSTRUCTURED if axis == "sparsity" else sorted(methods(axis))) for axis in AXES)),
    st.floats(0.05, 1),
    st.floats(0, 0.95),
    st.integers(2, 8),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_rank_then_sparsity_then_bits_compose(
    names: tuple[str, ...], keep: float, fraction: float, bits: int, symmetric: bool
) -> None:
    """The mask survives quantization, and the bytes are those of the packed tensors."""
    known, form = statistics(inputs(20), 24), whole((24, 20))
    last = fitting(names[2], BitsSetting(bits=bits, group=8, symmetric=symmetric))
    steps = (RankSetting(keep=keep), SparsitySetting(fraction=fraction), last)
    for name, setting in zip(names, steps, strict=True):
        for one in form.leaves(known):
            form = form.replace(one.path, transformed(name, one, setting))
    spec, tensors = form.pack()
    assert sum(tensor.nbytes for tensor in tensors.values()) == form.nbytes
    assert torch.equal(unpack(spec, tensors).dense(), form.dense())
    pruned = [part for part in form.modules() if isinstance(part, Sparse)]
    assert pruned
    for part in pruned:
        assert int((part.dense() == 0).sum()) >= part.shape[0] * int(fraction * part.shape[1])


def whole(shape: Shape) -> Parametrization:
    return Dense(matrix(shape))


@pytest.mark.parametrize("name", OF_ONE_BLOCK)
def test_what_the_statistics_say_counts(name: str) -> None:
    """A calibrated method answers otherwise for other inputs; how many tokens they were of changes nothing."""
    weight, known = matrix((16, 32)), statistics(inputs(32), 16)
    mine = transformed(name, Leaf("", weight, statistics=known), weak(name)).dense()
    other = transformed(name, leaf(weight, inputs(32, seed=7)), weak(name)).dense()
    assert not torch.equal(mine, other)
    twice = replace(known, count=2 * known.count, gram=2 * known.gram)
    torch.testing.assert_close(
        transformed(name, Leaf("", weight, statistics=twice), weak(name)).dense(), mine, rtol=1e-3, atol=1e-3
    )
