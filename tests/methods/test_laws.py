"""Laws that every registered method keeps, found by the registry: a new method is tested by being there."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from reparam_core.methods.settings import SETTINGS, BitsSetting, RankSetting, SparsitySetting
from reparam_core.parametrizations import Leaf, Parametrization, unpack
from reparam_core.registry import methods

STRONGEST = {
    "rank": RankSetting(keep=1),
    "sparsity": SparsitySetting(fraction=0),
    "bits": BitsSetting(bits=8, group=16),
}
FALLING = {
    "rank": [RankSetting(keep=keep) for keep in (1, 0.7, 0.4, 0.1)],
    "sparsity": [SparsitySetting(fraction=fraction) for fraction in (0, 0.3, 0.6, 0.9)],
    "bits": [BitsSetting(bits=bits, group=16) for bits in (8, 6, 4, 3, 2)],
}
SHAPES = [(48, 32), (32, 48), (7, 33)]
EVERY = pytest.mark.parametrize("name", methods())


def matrix(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def transformed(name: str, weight: torch.Tensor, setting: object) -> Parametrization:
    method = methods()[name]()
    leaves = {"w": Leaf("", weight)}
    return method.at(method.prepare(leaves), leaves, setting)["w"]


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
def test_shape_is_kept_and_the_weight_untouched(name: str, shape: tuple[int, int]) -> None:
    weight = matrix(shape)
    before = weight.clone()
    form = transformed(name, weight, FALLING[methods()[name].axis][2])
    assert form.shape == shape == tuple(form.dense().shape)
    assert torch.equal(weight, before)


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
def test_strongest_quality_reproduces_the_weight(name: str, shape: tuple[int, int]) -> None:
    weight = matrix(shape)
    form = transformed(name, weight, STRONGEST[methods()[name].axis])
    step = (weight.max() - weight.min()) / 255 if methods()[name].axis == "bits" else 1e-4
    assert (form.dense() - weight).abs().max() <= step


@EVERY
def test_stronger_compression_is_never_larger_nor_closer(name: str) -> None:
    weight = matrix((48, 32))
    forms = [transformed(name, weight, setting).stored(torch.float16) for setting in FALLING[methods()[name].axis]]
    sizes = [form.nbytes for form in forms]
    errors = [float((form.dense() - weight).norm()) for form in forms]
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
def test_packing_is_exact_and_counted(name: str, shape: tuple[int, int]) -> None:
    form = transformed(name, matrix(shape), FALLING[methods()[name].axis][2]).stored(torch.float16)
    spec, tensors = form.pack()
    assert sum(tensor.nbytes for tensor in tensors.values()) == form.nbytes
    assert torch.equal(unpack(spec, tensors).dense(), form.dense())


@EVERY
def test_forward_and_lookup_agree_with_the_dense_form(name: str) -> None:
    form = transformed(name, matrix((48, 32)), FALLING[methods()[name].axis][1]).stored(torch.float16)
    x, ids = matrix((5, 32), seed=1), torch.tensor([[0, 3], [47, 3]])
    torch.testing.assert_close(form(x), x @ form.dense().T, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(form.lookup(ids), form.dense()[ids], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axis", SETTINGS)
def test_methods_exist_for_every_axis_and_say_what_they_do(axis: str) -> None:
    assert all(3 <= len(kind.summary.split()) <= 8 for kind in methods(axis).values())
    assert methods(axis)


@given(keep=st.floats(0.05, 1), fraction=st.floats(0, 0.95), bits=st.integers(2, 8), symmetric=st.booleans())
@settings(max_examples=25, deadline=None)
def test_rank_then_sparsity_then_bits_compose(keep: float, fraction: float, bits: int, symmetric: bool) -> None:
    """The mask survives quantization, and the bytes are those of the packed tensors."""
    form = transformed("svd", matrix((24, 20)), RankSetting(keep=keep))
    for name, setting in (
        ("magnitude", SparsitySetting(fraction=fraction)),
        ("rtn", BitsSetting(bits=bits, group=8, symmetric=symmetric)),
    ):
        for leaf in form.leaves():
            method = methods()[name]()
            one = {"w": leaf}
            form = form.replace(leaf.path, method.at(method.prepare(one), one, setting)["w"])
    spec, tensors = form.pack()
    assert sum(tensor.nbytes for tensor in tensors.values()) == form.nbytes
    assert torch.equal(unpack(spec, tensors).dense(), form.dense())
    zeros = int(fraction * form.left.values.codes.numel())
    assert int((form.left.dense() == 0).sum()) >= zeros
