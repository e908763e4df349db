"""Recipes: the short form means what the documentation says, JSON comes back as it went, mistakes take one line."""

import fnmatch
import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reparam_core.errors import ReparamError
from reparam_core.methods.settings import RankSetting, energy_rank
from reparam_core.recipes import Recipe
from reparam_core.registry import method, methods
from tests.methods.leaves import width

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
        ("magnitude:2:4", "sparsity", {"pattern": "2:4"}),
        ("wanda:16:32", "sparsity", {"pattern": "16:32"}),
        ("wanda:0.5b16", "sparsity", {"fraction": 0.5, "block": 16}),
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


@pytest.mark.parametrize("text", ["wanda:2:4@sequential", "wanda:0.5@sequential", "gptq:4g64s@sequential",
                                  "whitened-svd:0.8p@sequential + sparsegpt:4:8 + gptq:3@sequential"])  # fmt: skip
def test_steps_say_behind_what_their_inputs_are_gathered(text: str) -> None:
    recipe = Recipe.parse(text)
    steps = [step for step in recipe.rules[0].steps.values() if step]
    assert [step.statistics for step in steps] == [
        "sequential" if "@" in part else "one-shot" for part in text.split(" + ")
    ]
    assert recipe.short() == text
    for again in (Recipe.parse(recipe.canonical), Recipe.parse(text.replace(" ", ""))):
        assert again == recipe
        assert again.canonical == recipe.canonical
    base = Recipe.parse(text.replace("@sequential", "@one-shot"))
    assert base == Recipe.parse(text.replace("@sequential", ""))
    assert base.canonical != recipe.canonical
    assert base.reads
    assert recipe.reads


@pytest.mark.parametrize(
    ("text", "names", "axes"),
    [("rotate", ["rotate"], []), ("fold-norms + rotate", ["fold-norms", "rotate"], []),
     ("smooth + rtn:4g64", ["smooth"], ["bits"]), ("rotate + svd:0.5 + wanda:2:4@sequential", ["rotate"], ["rank", "sparsity"])],
)  # fmt: skip
def test_rewrites_come_first(text: str, names: list[str], axes: list[str]) -> None:
    recipe = Recipe.parse(text)
    assert [one.name for one in recipe.transform] == names
    assert [axis for rule in recipe.rules for axis in rule.steps] == axes
    assert recipe.short() == text
    assert recipe.as_json()["transform"] == [{"method": name} for name in names]
    for again in (
        Recipe.parse(recipe.canonical),
        Recipe.parse(text.replace(" ", "")),
        recipe.with_rules(recipe.as_json()["rules"]),
    ):
        assert again == recipe
        assert again.canonical == recipe.canonical
    assert Recipe.parse({"rules": recipe.as_json()["rules"]}).canonical != recipe.canonical


@pytest.mark.parametrize(("text", "method"), [("heads:0.25/flap", "flap-heads"), ("heads:0.25/magnitude", "heads"),
                                              ("neurons:0.25/obs", "obs-neurons"), ("layers:0.25/measured", "measured-layers")])  # fmt: skip
def test_a_score_is_a_method_of_the_same_units(text: str, method: str) -> None:
    assert Recipe.parse(text) == Recipe.parse(f"{method}:0.25")
    name, _, score = text.partition(":0.25/")
    written = {"rules": [{"sparsity": {"method": name, "fraction": 0.25, "score": score}}]}
    assert Recipe.parse(written) == Recipe.parse(text)


@pytest.mark.parametrize("text", ["heads:0.25/frob", "wanda:0.5/flap", "heads:0.25/", "svd:0.5/whitened", "rtn:4/flap"])
def test_an_unknown_score_is_told(text: str) -> None:
    with pytest.raises(ReparamError, match=r"has no score|is no step"):
        Recipe.parse(text)


def test_shrinkage_is_of_what_reads_statistics_and_left_out_at_nothing() -> None:
    step = {"method": "wanda", "fraction": 0.5}
    given = Recipe.parse({"rules": [{"sparsity": step | {"shrinkage": 0.1}}]})
    assert given.as_json()["rules"] == [{"sparsity": step | {"shrinkage": 0.1}}]
    assert given.short() == "wanda:0.5 (shrinkage 0.1)"
    assert Recipe.parse({"rules": [{"sparsity": step | {"shrinkage": 0}}]}) == Recipe.parse("wanda:0.5")
    for wrong in ({"method": "magnitude", "fraction": 0.5, "shrinkage": 0.1}, step | {"shrinkage": 1}):
        with pytest.raises(ReparamError):
            Recipe.parse({"rules": [{"sparsity": wrong}]})


def test_a_rewrites_own_fields_are_told() -> None:
    said = {"transform": [{"method": "rotate", "seed": 3, "heads": True}], "rules": []}
    recipe = Recipe.parse(said)
    assert recipe.as_json()["transform"] == [{"method": "rotate", "seed": 3}]
    assert recipe.short() == "rotate (seed 3)"
    assert Recipe.parse(recipe.canonical) == recipe
    stronger = Recipe.parse({"transform": [{"method": "smooth", "strength": 0.75}], "rules": []})
    assert stronger.short() == "smooth (strength 0.75)"
    assert Recipe.parse(stronger.canonical) == stronger
    assert Recipe.parse({"transform": [], "rules": []}).canonical == Recipe.parse("base").canonical


@pytest.mark.parametrize(("text", "reads"), [("base", False), ("svd:0.5 + magnitude:2:4 + hqq:4", False),
                                             ("svd:0.5 + wanda:0.5", True), ("rotate + rtn:4", False), ("smooth", True),
                                             ("rotate + smooth + rtn:4", True)])  # fmt: skip
def test_only_what_is_calibrated_reads_the_inputs(text: str, reads: bool) -> None:
    assert Recipe.parse(text).reads == reads


def test_sentences_are_told_where_some_are_read() -> None:
    read = Recipe.parse("wanda:0.5").as_json()
    mixed = Recipe.parse(read | {"calibration": {"text": "addresses-train", "sentences": 0.75}})
    assert mixed.as_json()["calibration"] == {"text": "addresses-train", "sentences": 0.75}
    assert mixed.short() == "wanda:0.5 on 64 × 512 of addresses-train, 75 % sentences"
    assert Recipe.parse(read | {"calibration": {"sentences": 0}}).canonical == Recipe.parse(read).canonical
    with pytest.raises(ReparamError, match=r"calibration\.sentences: input should be less than 1"):
        Recipe.parse(read | {"calibration": {"sentences": 1}})


def test_a_calibration_counts_where_it_is_read() -> None:
    read, unread = ({"rules": [{"sparsity": {"method": name, "fraction": 0.5}}]} for name in ("wanda", "magnitude"))
    own = {"calibration": {"sequences": 8, "length": 64}}
    assert Recipe.parse(read | own).canonical != Recipe.parse(read).canonical
    assert Recipe.parse(unread | own).canonical == Recipe.parse(unread).canonical
    assert Recipe.parse(read | {"calibration": {"sequences": 64}}).canonical == Recipe.parse(read).canonical
    again = Recipe.parse(Recipe.parse(read | own).canonical)
    assert (again.calibration.sequences, again.calibration.length) == (8, 64)
    rewrite = Recipe.parse({"transform": [{"method": "smooth"}], "rules": []} | own)
    assert Recipe.parse(rewrite.canonical) == rewrite != Recipe.parse("smooth")
    assert rewrite.short() == "smooth on 8 × 64 of mixture"


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("svd:0", "greater than 0"),
        ("svd:1.5", "less than or equal to 1"),
        ("rtn:17", "It takes 2 to 8"),
        ("rtn:1", "greater than or equal to 2|no form of 1 bits"),
        ("magnitude:1", "less than 1"),
        ("nonsense:1", "Known: als"),
        ("svd", "no (step of a recipe|setting for svd)"),
        ("svd:0.5 + als:0.5", "twice"),
        ("{bad", "line 1, column 2"),
        ('{"rules": [], "extra": 1}', "extra: unknown field"),
        ('{"rules": [{"wher": "x"}]}', "Unknown field 'wher'"),
        ('{"rules": [{"rank": {"method": "svd", "keep": 0.5, "rank": 3}}]}', "exactly one of"),
        ('{"rules": [{"rank": {"method": "rtn", "keep": 0.5}}]}', "Unknown rank method 'rtn'"),
        ("missing.json", "cannot be read"),
        ("", "no step of a recipe"),
        ("rotate +", "no step of a recipe"),
        ("rotate:4", "a transform has no setting. Write rotate"),
        ('{"transform": "rotate", "rules": []}', "transform is 'rotate'. Give a list"),
        ('{"transform": ["rotate"], "rules": []}', "A transform needs a method, got 'rotate'. Known: fold-norms"),
        ('{"transform": [{"method": "svd"}], "rules": []}', "Unknown transform 'svd'. Known: fold-norms"),
        (
            '{"transform": [{"method": "rotate", "angle": 3}], "rules": []}',
            "'rotate' is wrong: unknown field 'angle'. Its fields",
        ),
        (
            '{"transform": [{"method": "rotate", "kind": "dct"}], "rules": []}',
            "'rotate' is wrong: kind: input should be",
        ),
        (
            '{"transform": [{"method": "smooth", "strength": 2}], "rules": []}',
            "'smooth' is wrong: strength: input should be less than or equal to 1",
        ),
        ('{"transform": [{"method": "fold-norms", "seed": 1}], "rules": []}', "It has no fields"),
        ("wanda:0.5@foo", "'wanda' is wrong: input should be 'one-shot' or 'sequential'"),
        ("wanda:0.5@", "'wanda:0.5@' is no step of a recipe"),
        ("wanda@sequential", "no (step of a recipe|setting for wanda)"),
        ("wanda:0.5@sequential@sequential", "says twice how it goes"),
        ("svd:0.5@sequential", "'svd' is wrong: statistics: unknown field"),
        ("magnitude:2:4@one-shot", "'magnitude' is wrong: statistics: unknown field"),
        ("magnitude:4:2", "pattern: keeps fewer of a group than it has"),
        ("magnitude:4:4", "pattern: keeps fewer of a group than it has"),
        ("magnitude:2:64", "a group has 32 at most"),
        ("magnitude:0:4", "pattern"),
        ("magnitude:2:", "'2:' is no setting"),
        ("svd:2:4", "no setting for svd"),
        ('{"rules": [{"sparsity": {"method": "wanda", "pattern": "2:4", "fraction": 0.5}}]}', "exactly one of"),
        ('{"rules": [{"sparsity": {"method": "wanda", "pattern": "two of four"}}]}', "pattern"),
        (
            '{"rules": [{"sparsity": {"method": "wanda", "pattern": "2:4", "block": 4}}]}',
            "blocks are zeroed by a fraction",
        ),
        ("magnitude:0.5b1", "block"),
        ("magnitude:0.5b", "no setting for magnitude"),
        (
            '{"rules": [{"sparsity": {"method": "wanda", "fraction": 0.5, "statistics": 3}}]}',
            "'one-shot' or 'sequential'",
        ),
        ('{"rules": [], "calibration": {"sequences": 0}}', "calibration.sequences: input should be greater"),
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


def digits(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers as people type them: six digits at most."""
    return st.floats(low, high).map(lambda value: float(f"{value:.6g}")).filter(lambda value: low <= value <= high)


RANKS = st.one_of(
    digits(1e-6, 1).map(lambda keep: {"keep": keep}), st.integers(1, 10**6).map(lambda rank: {"rank": rank}),
    digits(1e-6, 1e7).map(lambda share: {"parameters": share}), digits(1e-6, 1).map(lambda energy: {"energy": energy}),
)  # fmt: skip
PATTERN = st.integers(2, 32).flatmap(lambda of: st.integers(1, of - 1).map(lambda kept: {"pattern": f"{kept}:{of}"}))
ZEROS = (
    digits(0, 0.999999).map(lambda share: {"fraction": share})
    | st.builds(lambda share, side: {"fraction": share, "block": side}, digits(0, 0.999999), st.integers(2, 128))
    | digits(0, 1e7).map(lambda most: {"threshold": most})
    | PATTERN
)
BITS = st.builds(
    lambda bits, group, symmetric: {"bits": bits, "symmetric": symmetric} | ({} if group is None else {"group": group}),
    st.integers(2, 8), st.none() | st.just("tensor") | st.integers(1, 4096), st.booleans(),
)  # fmt: skip
STEPS = {"rank": RANKS, "sparsity": ZEROS, "bits": BITS}


def one_step(name: str, setting: dict[str, Any], how: str | None) -> dict[str, Any]:
    """As a method takes it: bits that it has a form for, and how its inputs are gathered where it reads them."""
    if "bits" in setting:
        setting = setting | {"bits": width(name, setting["bits"])}
        setting["symmetric"] &= getattr(method(name), "symmetric", True)
    return {"method": name} | setting | ({"statistics": how} if method(name).needs and how else {})


def step(axis: str) -> st.SearchStrategy[dict[str, Any]]:
    """Of any method."""
    gathered = st.sampled_from([None, "one-shot", "sequential"])
    return st.builds(one_step, st.sampled_from(sorted(methods(axis))), STEPS[axis], gathered)


ONE_RULE = st.fixed_dictionaries({}, optional={axis: step(axis) for axis in STEPS}).filter(bool)
RULE = st.fixed_dictionaries({}, optional={axis: st.none() | step(axis) for axis in STEPS} | {
    "where": st.sampled_from(["*", "layers.{0..3}.*", "*.mlp.*", "embedding"])})  # fmt: skip
RECIPE = st.fixed_dictionaries({"rules": st.lists(RULE, max_size=3)}, optional={
    "version": st.just(1), "storage": st.sampled_from(["float16", "bfloat16", "float32", None])})  # fmt: skip


@given(ONE_RULE)
def test_the_short_form_of_a_recipe_is_that_recipe(rule: dict[str, Any]) -> None:
    recipe = Recipe.parse({"rules": [rule]})
    assert Recipe.parse(recipe.short()) == recipe
    assert Recipe.parse(recipe.short().replace(" ", "")) == recipe
    assert Recipe.parse(recipe.short()).short() == recipe.short()


@given(RECIPE)
def test_json_comes_back_as_it_went(raw: dict[str, Any]) -> None:
    recipe = Recipe.parse(raw)
    for again in (Recipe.parse(recipe.canonical), Recipe.parse(recipe.as_json()), Recipe.parse(json.dumps(raw))):
        assert again == recipe
        assert hash(again) == hash(recipe)
        assert again.canonical == recipe.canonical
    assert json.loads(recipe.canonical) == recipe.as_json()


@given(RECIPE, RECIPE)
def test_equal_recipes_and_only_they_have_one_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = Recipe.parse(one), Recipe.parse(other)
    assert (first == second) == (first.canonical == second.canonical)
    assert len({first, second}) == 1 + (first != second)


@given(RECIPE)
def test_a_label_is_never_the_short_form_of_another_recipe(raw: dict[str, Any]) -> None:
    recipe = Recipe.parse(raw)
    try:
        meant = Recipe.parse(recipe.short())
    except ReparamError:
        return
    plan = recipe.resolve(ROLES | {f"layers.0.{name}": True for name in ("mlp.up", "x")})
    assert meant.resolve(ROLES | {f"layers.0.{name}": True for name in ("mlp.up", "x")}) == plan
    assert meant.storage == recipe.storage


@given(
    st.text(max_size=40)
    | st.from_regex(r"(svd|rtn|magnitude|wanda|base|\{)[:0-9.+eprgst@ {}\[\]\",]{0,12}", fullmatch=True)
)
def test_whatever_is_typed_is_a_recipe_or_one_line(typed: str) -> None:
    told = "fine"
    try:
        Recipe.parse(typed)
    except ReparamError as error:
        told = str(error)
    assert told
    assert "\n" not in told


@pytest.mark.parametrize("where", ["layers.{0..1000}.*", "{a,b}" * 11])
def test_braces_that_stand_for_thousands_are_one_line(where: str) -> None:
    with pytest.raises(ReparamError, match="more than 1000 patterns"):
        Recipe.parse({"rules": [{"where": where, "bits": {"method": "rtn", "bits": 4}}]})
    Recipe.parse({"rules": [{"where": "layers.{1..1000}.*"}]}).rules[0].matches("layers.7.x", True)


LONG = "x" * 10_000


@pytest.mark.parametrize("typed", [
    LONG, f"svd:{LONG}", f"svd:0.5 + {LONG}", f"{LONG}.json", "svd:" + "9" * 9000, "rtn:4g" + "9" * 9000,
    f'{{"{LONG}": 1, "rules": []}}', f'{{"rules": [{{"{LONG}": 1}}]}}', f'{{"rules": [{{"rank": "{LONG}"}}]}}',
    f'{{"rules": [{{"rank": {{"method": "{LONG}"}}}}]}}', f'{{"rules": [{{"rank": {{"method": "svd", "keep": "{LONG}"}}}}]}}',
    f'{{"rules": [{{"rank": {{"method": "svd", "keep": 0.5, "{LONG}": 1}}}}]}}', f'{{"rules": [], "storage": "{LONG}"}}',
    f'{{"rules": {[{}] * 500 + [1] * 500}}}',
])  # fmt: skip
def test_what_was_given_is_repeated_in_part(typed: str) -> None:
    with pytest.raises(ReparamError) as caught:
        Recipe.parse(typed)
    assert len(str(caught.value)) < 700
    assert "x" * 81 not in str(caught.value)


def test_a_glob_that_matches_nothing_is_told_with_a_role_of_every_kind() -> None:
    roles = {f"layers.{i}.{name}": True for i in range(90) for name in ("attention.q", "mlp.up")} | {"embedding": False}
    recipe = Recipe.parse({"rules": [{"where": "x" * 10_000, "bits": {"method": "rtn", "bits": 4}}]})
    with pytest.raises(
        ReparamError, match=r"Roles are layers\.0\.attention\.q, layers\.0\.mlp\.up, embedding …"
    ) as caught:
        recipe.resolve(roles)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "raw", ['{"rules": ' + "[" * 100_000, '{"rules": [{"rank": {"method": "svd", "rank": ' + "9" * 5000 + "}}]}"]
)
def test_json_beyond_what_can_be_read_is_one_line(raw: str) -> None:
    with pytest.raises(ReparamError, match="beyond what can be read"):
        Recipe.parse(raw)


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity"])
def test_no_number_is_endless(number: str) -> None:
    with pytest.raises(ReparamError, match="Give a finite number"):
        Recipe.parse(f'{{"rules": [{{"sparsity": {{"method": "magnitude", "threshold": {number}}}}}]}}')


@given(st.lists(st.tuples(st.sampled_from(["*", "*.q", "layers.{0..5}.*", "layers.?.mlp.up", None]),
                          st.none() | st.integers(2, 8)), max_size=5))  # fmt: skip
def test_the_last_rule_decides_matrix_by_matrix(given_rules: list[tuple[str | None, int | None]]) -> None:
    """Against a plain loop: braces expanded by hand, `*` also over dots."""
    raw: list[dict[str, Any]] = [
        ({} if where is None else {"where": where}) | {"bits": bits and {"method": "rtn", "bits": bits}}
        for where, bits in given_rules
    ]
    plan = Recipe.parse({"rules": raw}).resolve(ROLES)
    for role, by_default in ROLES.items():
        expected = None
        for where, bits in given_rules:
            globs = [f"layers.{i}.*" for i in range(6)] if where and "{" in where else [where]
            if any(by_default if glob is None else fnmatch.fnmatchcase(role, glob) for glob in globs):
                expected = bits
        assert (plan[role]["bits"].setting.given()["bits"] if role in plan else None) == expected


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.001, 1))
def test_a_share_of_the_numbers_never_takes_more(m: int, n: int, share: float) -> None:
    rank = RankSetting(parameters=share).resolve((m, n))
    assert rank == 1 or rank * (m + n) <= share * m * n
    assert rank == min(m, n) or (rank + 1) * (m + n) > share * m * n


@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=30), st.floats(0.001, 1))
def test_energy_is_the_least_rank_that_holds_it(values: list[float], energy: float) -> None:
    sigma = torch.tensor(sorted(values, reverse=True))
    rank, squares = energy_rank(sigma, energy), sigma.double().square()
    held = [float(squares[:r].sum()) for r in range(len(values) + 1)]
    assert 1 <= rank <= len(values)
    assert held[rank] >= energy * held[-1] * (1 - 1e-9)
    assert rank == 1 or energy == 1 or held[-1] == 0 or held[rank - 1] < energy * held[-1] * (1 + 1e-9)
