"""Presets stand wherever a recipe is read, and what their names promise of the size holds."""

import json

import pytest

from reparam_core import ReparamError, apply, load
from reparam_core.apply import check, suited
from reparam_core.presets import presets
from reparam_core.recipes import Recipe

MODELS = ["embedded-decoder", "embedded-encoder", "embedded-seq2seq"]
SHARES = {"half-size": 0.5, "quarter-size": 0.25}  # of the blocks' 16-bit bytes


@pytest.mark.parametrize("name", list(presets()))
def test_a_preset_stands_for_its_recipe(name: str) -> None:
    found = Recipe.parse(name)
    assert found == Recipe.parse(presets()[name].recipe)
    assert Recipe.parse(found.canonical) == found
    assert presets()[name].title
    for model in MODELS:
        if found.transform and not suited(load(model)):
            with pytest.raises(ReparamError, match="keeps the function of decoders"):
                check(load(model), name)
        else:
            check(load(model), name)


@pytest.mark.parametrize(("name", "share"), SHARES.items())
def test_its_matrices_are_as_small_as_it_says(name: str, share: float) -> None:
    """What reads nothing has the same bytes as any other way to the same grids: HQQ's where the zero point is free."""
    rules = Recipe.parse(name).as_json()["rules"]
    for rule in rules:
        method = "hqq" if rule["bits"].get("free_zero") else "rtn"
        rule["bits"] = {key: rule["bits"][key] for key in ("bits", "group")} | {"method": method}
    model = load("embedded-decoder")
    setting = apply(model, json.dumps({"rules": rules}))
    roles = [role for role, one in model.matrices.items() if one.compressed_by_default]
    whole = sum(2 * model.matrices[role].parameters for role in roles)
    assert 0.8 * share < sum(setting.form(role).nbytes for role in roles) / whole <= share
