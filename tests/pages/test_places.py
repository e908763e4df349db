"""Places say globs, globs say places, and both mean the same matrices."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pages.components.places import IN_BLOCKS, KINDS, Place, place_of, where_words
from reparam_core.recipes import Rule

ROLES = {
    **{f"layers.{i}.{name}": True for i in range(12) for name in ("attention.q", "attention.o", "mlp.up")},
    **{f"decoder.layers.{i}.cross.k": True for i in range(12)},
    "embedding": False, "head": False, "pooler": False, "other.bert.token_type": False,
}  # fmt: skip


def matched(place: Place) -> set[str]:
    rule = Rule(where=place.glob)
    return {role for role, by_default in ROLES.items() if rule.matches(role, by_default)}


@given(kind=st.sampled_from(list(KINDS)), layers=st.none() | st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_a_place_is_found_again_from_its_glob(kind: str, layers: tuple[int, int] | None) -> None:
    place = Place(kind, layers if kind in IN_BLOCKS else None)
    assert place_of(place.glob) == place


@pytest.mark.parametrize("kind", IN_BLOCKS)
def test_all_layers_named_are_all_layers(kind: str) -> None:
    assert matched(Place(kind, (0, 11))) == matched(Place(kind))


def test_a_range_of_layers_means_these_and_no_others() -> None:
    assert matched(Place("Q/K/V", (4, 9))) == {
        *(f"layers.{i}.attention.q" for i in range(4, 10)), *(f"decoder.layers.{i}.cross.k" for i in range(4, 10))}  # fmt: skip
    assert matched(Place("MLP", (10, 10))) == {"layers.10.mlp.up"}
    assert Place("MLP", (10, 10)).words == "the MLP of layer 10"


def test_what_the_menus_cannot_say_is_no_place() -> None:
    assert place_of("layers.3.attention.q") is None


@pytest.mark.parametrize(("where", "told"), [
    (None, "all blocks"), ("layers.0.mlp.up", "layers.0.mlp.up"), ("{a.q,a.k,a.v}", "{a.q,a.k,a.v}"),
    ("{a.q,a.k,a.v,a.o}", "4 matrices"), ("layers.{0,1,2,3}.mlp.up", "layers.{0,1,2,3}.mlp.up")])  # fmt: skip
def test_a_long_list_of_matrices_is_counted(where: str | None, told: str) -> None:
    assert where_words(where) == told
