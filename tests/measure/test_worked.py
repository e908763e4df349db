"""The numbers beside a formula are those of the very form that the method makes, for every method that there is."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reparam_core.measure.worked import first_unit, on_screen, share_of_zeros
from reparam_core.methods.base import Method, role_of
from reparam_core.methods.settings import BitsSetting, RankSetting, SparsitySetting
from reparam_core.models import Model, load
from reparam_core.parametrizations import Codebook, Leaf, LowRank, Parametrization, Quantized, Sliced, Sparse
from reparam_core.recipes import Recipe, Step
from reparam_core.registry import methods
from tests.methods.leaves import fitting, leaf, matrix, unit_of
from tests.tiny import saved

NUMBER = r"([\d,]+)"
SETTINGS: dict[str, list[Any]] = {
    "rank": [RankSetting(keep=0.3), RankSetting(rank=7), RankSetting(parameters=0.8)],
    "sparsity": [SparsitySetting(fraction=0), SparsitySetting(fraction=0.3), SparsitySetting(fraction=0.34),
                 SparsitySetting(pattern="2:4"), SparsitySetting(pattern="3:5"), SparsitySetting(fraction=0.3, block=8)],
    "bits": [BitsSetting(bits=bits, group=group) for bits in (2, 4) for group in (None, 16, "tensor")],
}  # fmt: skip
OWN: dict[str, list[dict[str, Any]]] = {
    "nf4": [{"double": False}],
    "magnitude": [{"scope": "layer"}],
    "rtn": [{"input_bits": 8}],
    "low-rank-quantized": [{"bits": 3, "group": 16}],
    "low-rank-sparse": [{"kept": 0.2}],
}
CASES = [(name, own) for name in methods() for own in ({}, *OWN.get(name, []))]


def step_of(recipe: str) -> Step:
    (step,) = Recipe.parse(recipe).rules[0].steps.values()
    assert step is not None
    return step


def shaped(leaves: dict[str, Leaf]) -> dict[str, Leaf]:
    """Leaves of the same shapes, without a number."""
    return {name: replace(one, weight=one.weight.to("meta"), statistics=None) for name, one in leaves.items()}


def numbers(pattern: str, told: str) -> list[int]:
    found = re.search(pattern.replace("N", NUMBER), told)
    return [int(one.replace(",", "")) for one in found.groups()] if found else []


def said_of_zeros(told: str, forms: dict[str, Parametrization]) -> bool:
    found = numbers("N of (?:mn = )?N numbers are zero", told)
    if found:
        assert found == [sum(int((one.dense() == 0).sum()) for one in forms.values()),
                         sum(one.dense().numel() for one in forms.values())]  # fmt: skip
    squares = numbers("N of N squares of N", told)
    if squares:
        (form,) = forms.values()
        side, gone = squares[2], form.dense() == 0
        blocks = [block for rows in gone.split(side) for block in rows.split(side, 1)]
        assert squares[:2] == [sum(bool(block.all()) for block in blocks), len(blocks)]
    return bool(found or squares)


def said_of_codes(told: str, forms: dict[str, Parametrization]) -> bool:
    found = numbers(r"(?:2ᵇ = )?N codes, N bytes at most, and N [\w ]+, each for N numbers", told)
    if not found:
        return False
    (form,) = forms.values()
    coded = next(one for one in form.modules() if isinstance(one, Quantized | Codebook))
    _, packed = coded.pack()
    size = -(-coded.codes.numel() // found[2])
    assert found[:2] == [coded.levels, packed["codes"].nbytes]
    scale = coded.scale if isinstance(coded, Quantized) else coded.table if coded.scale is None else coded.scale.dense()
    assert found[2] == (len(scale) if isinstance(coded, Codebook) and coded.scale is None else scale.numel())
    assert found[3] == size or "at most" in told.rpartition("each for")[2]
    return True


def said_of_factors(told: str, forms: dict[str, Parametrization]) -> bool:
    found = numbers(r"r = N, r\(m \+ n\) = N numbers", told)
    if not found:
        return False
    (form,) = forms.values()
    (pair,) = [one for one in form.modules() if isinstance(one, LowRank)]
    assert found == [pair.right.shape[0], pair.parameters_kept]
    kept = numbers("S keeps N of mn = N", told)
    assert kept == [] or kept == [
        sum(one.kept for one in form.modules() if isinstance(one, Sparse)),
        form.dense().numel(),
    ]
    beside = kept[:1] or ([form.dense().numel()] if "Q:" in told else [0])
    assert form.parameters_kept == found[1] + beside[0]
    return True


def said_of_units(told: str, forms: dict[str, Parametrization]) -> bool:
    found = numbers(r"^N of N [^;]+? go", told)
    if not found:
        return False
    kept = [one.inner.parameters_kept if isinstance(one, Sliced) else one.parameters_kept for one in forms.values()]
    if "layers go" in told:
        assert found == [kept.count(0), len(kept)]
        return True
    lost = numbers("go, N of their N numbers", told)
    assert lost == [lost[1] - sum(kept), sum(one.dense().numel() for one in forms.values())]
    assert lost[0] * found[1] == lost[1] * found[0]
    assert found[0] or "the first goes at" in told
    return True


CHECKS = (said_of_zeros, said_of_codes, said_of_factors, said_of_units)


@pytest.mark.parametrize(("name", "own"), CASES, ids=lambda one: str(one))
@pytest.mark.parametrize("shape", [(48, 32), (40, 150)])
def test_what_is_said_is_what_is_made(name: str, own: dict[str, Any], shape: tuple[int, int]) -> None:
    """Zeros counted, codes and scales counted, numbers kept and units gone, of the form itself; a ragged last group too."""
    method = methods()[name](**own)
    leaves = unit_of(name, leaf(matrix(shape)))
    prepared = method.prepare(leaves)
    asked = SETTINGS[method.axis]
    for setting in dict.fromkeys(fitting(name, one) if isinstance(one, BitsSetting) else one for one in asked):
        if not method.patterns and (setting.pattern or setting.block):
            continue
        told = method.worked(shaped(leaves), setting)
        forms = method.at(prepared, leaves, setting)
        checked = [check(told, forms) for check in CHECKS]
        assert any(checked), told


def test_of_a_whole_layer_the_zeros_are_counted_together() -> None:
    method = methods()["magnitude"](scope="layer")
    leaves = {name: leaf(matrix(shape)) for name, shape in (("a", (24, 40)), ("b", (8, 16)))}
    told = method.worked(shaped(leaves), SparsitySetting(fraction=0.3))
    assert told == "326 of 1,088 numbers are zero"
    assert said_of_zeros(told, method.at(method.prepare(leaves), leaves, SparsitySetting(fraction=0.3)))


def test_a_share_of_zeros_is_that_of_the_form() -> None:
    for recipe, zeros in (("random:0.25", 240), ("random:2:4", 480), ("random:1:4", 720)):
        setting = step_of(recipe).setting
        assert isinstance(setting, SparsitySetting)
        assert share_of_zeros(setting) == zeros / 960


def test_what_is_not_known_from_the_shape_is_said_so() -> None:
    leaves = {"w": Leaf("", torch.empty(24, 40, device="meta"))}

    def told(recipe: str) -> str:
        step = step_of(recipe)
        return step.method.worked(leaves, step.setting)

    assert "the least with 95 % of Σσ²" in told("svd:e0.95")
    assert "break-even r = 15" in told("svd:e0.95")
    assert "t = 0.01" in told("magnitude:t0.01")
    assert "the others in 4 bits" in methods()["sparsegpt"](kept_bits=4).worked(leaves, SparsitySetting(fraction=0.5))


def grouped(tmp_path: Path) -> Model:
    """A Llama with two key/value heads for four query heads, which a method takes together."""
    return load(str(saved(tmp_path, "llama") / "llama"))


def kind_of(name: str) -> type[Method]:
    return methods()[name]


def test_the_first_matrix_is_one_that_the_rule_covers_and_the_method_takes() -> None:
    model = load("embedded-decoder")
    assert list(first_unit(model, "*.mlp.down", kind_of("svd")())) == ["layers.0.mlp.down"]
    assert list(first_unit(model, None, kind_of("svd")())) == ["layers.0.attention.q"]
    assert {role_of(one) for one in first_unit(model, None, kind_of("neurons")())} == {
        f"layers.0.mlp.{name}" for name in ("up", "gate", "down")
    }
    assert first_unit(model, "nowhere", kind_of("svd")()) == {}
    assert on_screen(model, "*.attention.*", kind_of("neurons"), None) == ""


def test_units_are_told_with_what_goes_with_them(tmp_path: Path) -> None:
    told = on_screen(grouped(tmp_path), None, kind_of("heads"), {"method": "heads", "fraction": 0.34})
    assert told.startswith(
        "layers.0: 0 of 2 key/value heads (each with its 2 heads of queries) go, 0 of their 3,072 numbers"
    )
    assert told.endswith("the first goes at 50 %")


def test_a_matrix_is_named_with_its_shape_and_a_split_is_not_forgotten() -> None:
    model = load("embedded-decoder")
    assert on_screen(model, None, kind_of("svd"), None) == "layers.0.attention.q is m × n = 256 × 256"
    said = {"method": "svd", "keep": 0.5}
    assert on_screen(model, None, kind_of("svd"), said).endswith("1.00 of mn; break-even r = 128")
    assert on_screen(model, None, kind_of("svd"), said | {"split": "energy"}).endswith(
        "before it is spread over the matrices"
    )


def test_a_setting_that_is_refused_leaves_the_shape_alone() -> None:
    model = load("embedded-decoder")
    told = on_screen(model, None, kind_of("svd"), {"method": "svd", "rank": 10_000})
    assert told == "layers.0.attention.q is m × n = 256 × 256"
