"""What the controls say is what they are set to again: recipes round-trip through sliders and menus."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from pages.components.history import controls_of
from pages.components.places import Place
from reparam_core.recipes import Recipe
from reparam_core.registry import methods, splits

PLACES = st.sampled_from(
    [Place("Q/K/V"), Place("Blocks"), Place("MLP", (2, 4)), Place("Embedding"), Place("Everything")]
)
RANK = st.builds(
    lambda method, unit, percent, iterations: (
        {"method": method, unit: percent / 100} | ({"iterations": iterations} if method == "als" and iterations != 30 else {})),
    st.sampled_from(["als", "svd"]), st.sampled_from(["keep", "parameters", "energy"]), st.integers(1, 99),
    st.integers(1, 40))  # fmt: skip
STATISTICS = st.sampled_from([{}, {"statistics": "sequential"}])
SPARSITY = st.builds(
    lambda method, how, setting: {"method": method} | (how if method == "wanda" else {}) | setting,
    st.sampled_from(["magnitude", "wanda"]), STATISTICS,
    st.integers(1, 99).map(lambda percent: {"fraction": percent / 100})
    | st.sampled_from([{"pattern": one} for one in ("2:4", "4:8", "1:4")])
    | st.sampled_from([{"fraction": 0.5, "block": side} for side in (4, 8, 16, 32)]))  # fmt: skip
BITS = st.builds(
    lambda method, how, bits, group, symmetric: (
        {"method": method, "bits": bits} | (how if method == "gptq" else {}) | ({"group": group} if group else {})
        | ({"symmetric": True} if symmetric else {})),
    st.sampled_from(["rtn", "gptq"]), STATISTICS, st.integers(2, 8), st.sampled_from([None, 32, 64, 128, "tensor"]),
    st.booleans())  # fmt: skip
CALIBRATION = st.fixed_dictionaries({"text": st.sampled_from(["mixture", "addresses-train"]),
                                     "sequences": st.sampled_from([16, 32, 64, 128]),
                                     "length": st.sampled_from([128, 256, 512, 1024]),
                                     "sentences": st.sampled_from([0.0, 0.25, 0.5, 0.75])})  # fmt: skip


def spread(steps: st.SearchStrategy[dict[str, Any]], split: str, whole: str) -> st.SearchStrategy[dict[str, Any]]:
    """Now and then with a split, where the setting can be spread: `whole` is given for all matrices alike."""

    def over(step: dict[str, Any], wanted: bool) -> dict[str, Any]:
        kind = methods()[step["method"]]
        suited = whole not in step and not splits(kind.axis)[split].unsuited(kind())
        return step | ({"split": split} if wanted and suited else {})

    return st.builds(over, steps, st.booleans())


STEPS = {"rank": spread(RANK, "energy", "energy"), "sparsity": spread(SPARSITY, "outliers", "pattern"),
         "bits": spread(BITS, "output", "nothing")}  # fmt: skip


def square(side: Any) -> dict[str, Any]:
    """Of what share is zeroed, where not of single numbers."""
    return {} if side == "one" else {"block": side}


def said(controls: dict[str, Any]) -> dict[str, Any]:
    """The rules that these controls stand for, axis by axis, worked out from their keys alone."""
    found: dict[str, Any] = {}
    for axis in (one for one in STEPS if f"{one}_method" in controls):
        place = Place(controls[f"{axis}_where"], controls.get(f"{axis}_layers"))
        method = controls[f"{axis}_method"]
        own = {key.removeprefix(f"{axis}_{method}_"): value for key, value in controls.items()
               if key.startswith(f"{axis}_{method}_")}  # fmt: skip
        position = {
            "rank": lambda: {controls["rank_unit"]: controls["rank"] / 100},
            "sparsity": lambda: ({"pattern": controls["sparsity_pattern"]} if "sparsity_pattern" in controls
                                 else {"fraction": controls["sparsity"] / 100, **square(controls["sparsity_block"])}),
            "bits": lambda: {"bits": controls["bits"], "symmetric": controls["bits_symmetric"],
                             "group": None if controls["bits_group"] == "row" else controls["bits_group"]},
        }[axis]()  # fmt: skip
        how = controls.get(f"{axis}_statistics", "one-shot")
        own |= {"statistics": how} if how != "one-shot" else {}
        own |= {"split": controls[f"{axis}_split"]} if f"{axis}_split" in controls else {}
        found[axis] = (place.glob, {"method": method} | own | position)
    return found


@given(st.dictionaries(st.sampled_from(list(STEPS)), PLACES, min_size=1), CALIBRATION, st.data())
@settings(max_examples=150, deadline=None)
def test_a_recipe_of_sliders_is_found_again(
    places: dict[str, Place], calibration: dict[str, Any], data: st.DataObject
) -> None:
    rules = [{"where": place.glob, axis: data.draw(STEPS[axis])} for axis, place in places.items()]
    recipe = Recipe.parse({"rules": rules, "calibration": calibration})
    controls = controls_of(recipe.canonical)
    assert controls is not None
    read = {
        key.removeprefix("calibration_"): value for key, value in controls.items() if key.startswith("calibration_")
    }
    assert read == (calibration if recipe.reads else {})
    again = Recipe.parse({"rules": [{"where": where, axis: step} for axis, (where, step) in said(controls).items()]})
    by_axis = {axis: (rule.where, step) for rule in recipe.rules for axis, step in rule.steps.items()}
    assert {axis: (rule.where, step) for rule in again.rules for axis, step in rule.steps.items()} == by_axis


def test_what_sliders_cannot_say_is_left_to_text() -> None:
    for recipe in ("svd:r64", "svd:0.123", "magnitude:t0.01", "rtn:4g48", "wanda:1:2", "mxfp4",
                   '{"rules": [{"bits": {"method": "gptq", "bits": 4}}], "calibration": {"offset": 512}}',
                   '{"rules": [{"bits": {"method": "gptq", "bits": 4}}], "calibration": {"sequences": 7}}',
                   '{"rules": [{"bits": {"method": "gptq", "bits": 4}}], "calibration": {"text": "moby-dick"}}',
                   '{"rules": [{"bits": {"method": "gptq", "bits": 4}}], "calibration": {"sentences": 0.4}}',
                   '{"rules": [{"bits": {"method": "gptq", "bits": 4, "shrinkage": 0.1}}]}',
                   '{"rules": [{"where": "layers.0.attention.q", "bits": {"method": "rtn", "bits": 4}}]}',
                   '{"rules": [{"bits": {"method": "rtn", "bits": 4}}, {"where": "*mlp*", "bits": null}]}'):  # fmt: skip
        assert controls_of(Recipe.parse(recipe).canonical) is None


def test_the_base_is_no_control_at_all() -> None:
    assert controls_of("base") == {}
