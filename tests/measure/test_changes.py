"""What a setting changed and what theory claims of it, against counts made by hand."""

import numpy as np
import pytest
import torch

from reparam_core import apply, base, load
from reparam_core.apply import Setting
from reparam_core.measure.changes import bytes_by_kind, changes, claims, described, held_bytes, kind_of
from reparam_core.models import Model, write_packed
from reparam_core.parametrizations import Dense, LowRank, Quantized, Sparse

ONE = '{{"rules": [{{"where": "layers.0.mlp.up", {}}}]}}'


@pytest.fixture(scope="module")
def model() -> Model:
    return load("embedded-decoder")


@pytest.fixture(scope="module")
def mixed(model: Model) -> Setting:
    return apply(model, "svd:0.5 + magnitude:0.5 + rtn:4g32")


def test_only_changed_matrices_are_listed_with_the_error_that_numpy_finds(model: Model) -> None:
    setting = apply(model, ONE.format('"rank": {"method": "svd", "rank": 20}'))
    (row,) = changes(setting)
    w, after = (one.double().numpy() for one in (model.weight(row["role"]), setting.forms[row["role"]].dense()))
    m, n = w.shape
    assert row["role"] == "layers.0.mlp.up"
    assert row["shape"] == [m, n]
    assert row["relative_error"] == pytest.approx(np.linalg.norm(w - after) / np.linalg.norm(w), rel=1e-4)
    assert row["relative_error"] == pytest.approx(
        np.sqrt((np.linalg.svd(w, compute_uv=False)[20:] ** 2).sum() / (w**2).sum()), rel=1e-2
    )
    assert (row["parameters"], row["parameters_base"]) == (20 * (m + n), m * n)
    assert (row["bytes"], row["bytes_base"]) == (2 * 20 * (m + n), 2 * m * n)
    assert changes(base(model)) == []


def test_bytes_by_kind_add_up_to_the_file(
    model: Model, mixed: Setting, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = bytes_by_kind(mixed)
    file = write_packed(tmp_path_factory.mktemp("out") / "packed", model, mixed.forms, mixed.storage)
    assert sum(row["bytes"] for row in rows) == file.stat().st_size
    assert sum(row["bytes_base"] for row in rows) == base(model).bytes
    kinds = {row["kind"]: row for row in rows}
    assert set(kinds) == {"embedding", "attention", "mlp", "norms, biases, header"}
    assert kinds["embedding"]["bytes"] == kinds["embedding"]["bytes_base"] == 2 * model.matrices["embedding"].parameters
    assert kinds["attention"]["bytes"] < kinds["attention"]["bytes_base"]


@pytest.mark.parametrize(
    ("role", "kind"),
    [("layers.3.attention.q", "attention"), ("encoder.layers.0.mlp.up", "mlp"), ("decoder.layers.1.cross.k", "cross"),
     ("embedding", "embedding"), ("head", "head"), ("other.cls.transform.dense", "other")],
)  # fmt: skip
def test_a_role_has_a_kind(role: str, kind: str) -> None:
    assert kind_of(role) == kind


def test_theory_counts_the_numbers_and_multiplications_of_thin_factors(model: Model) -> None:
    setting = apply(model, "svd:r10")
    shapes = [one.shape for one in model.matrices.values() if one.compressed_by_default]
    saved = sum(m * n - 10 * (m + n) for m, n in shapes)
    found = {one.what: one for one in claims(setting)}
    assert found["numbers kept"].ratio == pytest.approx(1 - saved / model.parameters)
    products = sum(m * n for m, n in shapes) + model.matrices["embedding"].parameters  # tied: the head multiplies it
    assert model.matrices["embedding"].tied
    assert found["multiply-adds a token"].ratio == pytest.approx(1 - saved / products)
    assert found["file"].ratio == setting.bytes / base(model).bytes


def test_full_rank_is_shown_as_the_loss_that_it_is(model: Model) -> None:
    numbers = claims(apply(model, "svd:1"))[0]
    matrices = sum(one.compressed_by_default for one in model.matrices.values())
    assert numbers.ratio > 1
    assert numbers.reason == f"rank above break-even in {matrices} of {matrices} matrices"
    assert claims(apply(model, "svd:0.1"))[0].reason == ""


def test_a_rank_that_loses_is_shown_even_where_the_model_shrinks(model: Model) -> None:
    rules = [
        {"rank": {"method": "svd", "keep": 0.1}},
        {"where": "layers.0.mlp.up", "rank": {"method": "svd", "keep": 1.0}},
    ]
    numbers = claims(apply(model, {"rules": rules}))[0]
    assert numbers.ratio < 1
    assert numbers.reason.startswith("rank above break-even in 1 of ")


def test_reasons_say_where_claim_and_measurement_part(mixed: Setting) -> None:
    found = {one.what: one for one in claims(mixed)}
    assert found["file"].reason == "a bitmap says where the zeros are; each group keeps a scale"
    assert (
        found["memory of the matrices"].reason == "unpacked for the dense kernel, beside the codes; zeros stored dense"
    )


def test_times_are_ratios_to_the_base(model: Model, mixed: Setting) -> None:
    times = {"setting": {"prefill_ms": {"p50": 3.0}, "decode_ms_per_token": None, "kernel": "slow"},
             "base": {"prefill_ms": {"p50": 2.0}, "decode_ms_per_token": None}}  # fmt: skip
    assert next(one.kind for one in claims(mixed) if one.what == "memory of the matrices") == "counted"
    (read,) = [one for one in claims(mixed, times) if one.what.startswith("time")]
    assert (read.ratio, read.kind, read.reason) == (1.5, "measured", "slow")
    assert {one.ratio for one in claims(base(model))} == {1.0}


def test_memory_counts_shared_numbers_once() -> None:
    weight = torch.zeros(8, 8)
    assert held_bytes(Dense(weight)) == 256
    assert held_bytes(LowRank(Dense(weight), Dense(weight))) == 256
    assert held_bytes(Sparse(torch.ones(8, 8).bool(), Dense(weight))) == 256 + 64
    quantized = Quantized(torch.zeros(8, 8, dtype=torch.uint8), torch.ones(8, 1).half(), None, 4, None)
    assert held_bytes(quantized) == 64 + 16
    quantized(torch.ones(1, 8))
    assert held_bytes(quantized) == 64 + 16 + 256  # what the dense kernel reads stays beside the codes


def test_a_form_is_told_in_words(mixed: Setting) -> None:
    assert described(Dense(torch.zeros(1, 1))) == "dense"
    assert {described(form) for form in mixed.forms.values()} == {"low rank (sparse (quantized))"}
