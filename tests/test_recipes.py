"""Recipes: the short form means what the documentation says, JSON comes back as it went, mistakes take one line."""

import pytest

from reparam_core.errors import ReparamError
from reparam_core.methods.settings import RankSetting
from reparam_core.recipes import Recipe

ROLES = {f"layers.{i}.{name}": True for i in range(12) for name in ("attention.q", "attention.o", "mlp.up")}
ROLES["embedding"] = False


@pytest.mark.parametrize(
    ("text", "axis", "setting"),
    [
        ("svd:0.5", "rank", {"keep": 0.5}),
        ("svd:r64", "rank", {"rank": 64}),
        ("svd:0.8p", "rank", {"parameters": 0.8}),
        ("als:e0.95", "rank", {"energy": 0.95}),
        ("magnitude:0.5", "sparsity", {"fraction": 0.5}),
        ("magnitude:t0.01", "sparsity", {"threshold": 0.01}),
        ("rtn:4g64", "bits", {"bits": 4, "group": 64}),
        ("rtn:4g64s", "bits", {"bits": 4, "group": 64, "symmetric": True}),
        ("rtn:8t", "bits", {"bits": 8, "group": "tensor"}),
        ("rtn:4", "bits", {"bits": 4}),
    ],
)
def test_short_form_means_what_it_says(text: str, axis: str, setting: dict[str, object]) -> None:
    recipe = Recipe.parse(text)
    step = recipe.rules[0].steps[axis]
    assert step is not None
    assert step.setting.given() == setting
    assert recipe.short() == text
    assert Recipe.parse(recipe.canonical) == recipe


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("svd:0", "greater than 0"),
        ("svd:1.5", "less than or equal to 1"),
        ("rtn:17", "less than or equal to 8"),
        ("rtn:1", "greater than or equal to 2"),
        ("magnitude:1", "less than 1"),
        ("nonsense:1", "Known: als"),
        ("svd", "no step of a recipe"),
        ("svd:0.5 + als:0.5", "twice"),
        ("{bad", "line 1, column 2"),
        ('{"rules": [], "extra": 1}', "extra: unknown field"),
        ('{"rules": [{"wher": "x"}]}', "Unknown field 'wher'"),
        ('{"rules": [{"rank": {"method": "svd", "keep": 0.5, "rank": 3}}]}', "exactly one of"),
        ('{"rules": [{"rank": {"method": "rtn", "keep": 0.5}}]}', "Unknown rank method 'rtn'"),
        ("missing.json", "cannot be read"),
    ],
)
def test_mistakes_are_told_in_one_line(mistake: str, told: str) -> None:
    with pytest.raises(ReparamError, match=told) as caught:
        Recipe.parse(mistake)
    assert "\n" not in str(caught.value)


def test_last_rule_that_names_a_step_decides() -> None:
    recipe = Recipe.parse({"rules": [
        {"rank": {"method": "svd", "keep": 0.5}, "bits": {"method": "rtn", "bits": 8}},
        {"where": "layers.{4..9}.*", "bits": {"method": "rtn", "bits": 4}},
        {"where": "*.mlp.*", "rank": None},
    ]})  # fmt: skip
    plan = recipe.resolve(ROLES)
    assert "embedding" not in plan
    assert [plan[f"layers.{i}.attention.q"]["bits"].short() for i in (3, 4, 9, 10)] == [
        "rtn:8",
        "rtn:4",
        "rtn:4",
        "rtn:8",
    ]
    assert "rank" not in plan["layers.0.mlp.up"]
    assert plan["layers.0.attention.o"]["rank"].short() == "svd:0.5"


def test_a_rule_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ReparamError, match="matches nothing"):
        Recipe.parse({"rules": [{"where": "layer.3.*", "bits": {"method": "rtn", "bits": 4}}]}).resolve(ROLES)


def test_ranks_follow_their_definitions() -> None:
    shape = (96, 64)
    assert RankSetting(keep=0.5).resolve(shape) == 32
    assert RankSetting(keep=0.001).resolve(shape) == 1
    assert RankSetting(parameters=0.8).resolve(shape) == int(0.8 * 96 * 64 / (96 + 64))
    with pytest.raises(ReparamError, match="above the full rank 64"):
        RankSetting(rank=65).resolve(shape)
