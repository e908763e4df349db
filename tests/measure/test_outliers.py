"""A rotation spreads what stands out in weights and inputs; folding shows in the inputs what the gains held back."""

import pytest
import torch

from reparam_core import apply, load
from reparam_core.measure.outliers import outliers
from reparam_core.models import Model
from reparam_core.statistics import input_outliers, stands_out

pytestmark = pytest.mark.usefixtures("own_store")
IDS = torch.arange(40).view(1, 40) + 100


@pytest.fixture
def decoder() -> Model:
    return load("embedded-decoder")


def test_a_number_stands_out_by_its_size_over_the_root_mean_square() -> None:
    assert stands_out(torch.tensor([3.0, -3.0, 3.0, 3.0])) == pytest.approx(1)
    assert stands_out(torch.tensor([[0.0, -5.0], [0.0, 0.0]])) == pytest.approx(2)
    assert stands_out(torch.zeros(3)) == 1


def test_rows_are_medians_of_the_two_models(decoder: Model) -> None:
    setting = apply(decoder, "rotate + rtn:4g64")
    rows = {one["kind"]: one for one in outliers(setting, {"input_ids": IDS})}
    layers = [f"layers.{index}.mlp.up" for index in range(decoder.layers)]
    for stage, model in (("before", decoder), ("after", setting.start)):
        weights = torch.tensor([stands_out(model.weight(role)) for role in layers])
        read = input_outliers(model, IDS)
        inputs = torch.tensor([read[role] for role in layers])
        assert rows["mlp.up"][f"weights_{stage}"] == pytest.approx(float(weights.quantile(0.5)), rel=1e-5)
        assert rows["mlp.up"][f"inputs_{stage}"] == pytest.approx(float(inputs.quantile(0.5)), rel=1e-5)
    assert rows["mlp.up"]["inputs_after"] < rows["mlp.up"]["inputs_before"]
    assert rows["mlp.down"]["inputs_after"] == pytest.approx(rows["mlp.down"]["inputs_before"], rel=1e-3)  # not rotated


def test_without_inputs_the_weights_are_told(decoder: Model) -> None:
    rows = outliers(apply(decoder, "fold-norms"), {})
    assert all(one["inputs_before"] is None and one["weights_after"] >= 1 for one in rows)
