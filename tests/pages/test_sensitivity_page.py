"""Sensitivity without a browser: the sentence, the map, the proposals and their way to Trade-offs, the address."""

import pytest

from reparam_core.jobs import sensitivity
from reparam_core.recipes import Recipe
from tests.pages.conftest import Open, control, sentence, settled, titles, told


@pytest.fixture(autouse=True)
def few_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "SEQUENCES", 4)
    monkeypatch.setattr(sensitivity, "LENGTH", 64)


def test_it_opens_with_every_matrix_at_three_bits(opened: Open) -> None:
    page = opened("sensitivity")
    assert not page.exception
    assert not page.error
    assert sentence(page).startswith(
        "#### embedded-decoder with one matrix at a time at 3 bits in groups of 64 (rtn): layers."
    )
    assert "costs most" in sentence(page)
    assert "nats a token, measured +" in sentence(page)
    heat, against, curve = titles(page)
    assert heat.startswith("Each matrix alone at 3 bits in groups of 64: ")
    assert against.startswith("Estimates rank the cells with a correlation of 0.")
    assert curve.startswith("layers.0.attention.q: ")
    assert "The same everywhere" in told(page)
    assert "Protect the worst 4" in told(page)
    assert "Split the budget by loss" in told(page)


def test_the_address_is_the_view(opened: Open) -> None:
    page = opened("sensitivity", role="layers.1.mlp.down", sensed_axis="rank", sensed_rank="30", sensed_spared="2")
    assert not page.exception
    assert "one matrix at a time at 30 % of full rank (svd)" in sentence(page)
    assert titles(page)[2].startswith("layers.1.mlp.down: ")
    assert "Protect the worst 2" in told(page)


@pytest.mark.parametrize("name", ["The same everywhere", "Protect the worst", "Split the budget by loss"])
def test_a_proposal_goes_to_trade_offs(opened: Open, name: str) -> None:
    page = opened("sensitivity")
    page = control(page.button, f"take-{name}").click().run()
    typed = page.session_state["recipe"]
    if name == "The same everywhere":
        assert (typed, page.session_state["bits"], page.session_state["bits_group"]) == ("", 3, 64)
    else:
        rules = Recipe.parse(typed).rules
        assert rules[-1].steps["bits"] is None if name == "Protect the worst" else len(rules) > 1


def test_another_axis_keeps_the_matrix(opened: Open) -> None:
    page = opened("sensitivity", role="layers.2.mlp.up")
    control(page.button_group, "sensed_axis").set_value("sparsity")
    page = settled(page.run())
    assert not page.exception
    assert "at 50 % zeros (magnitude)" in sentence(page)
    assert titles(page)[2].startswith("layers.2.mlp.up: ")


def test_a_method_of_one_width_has_no_slider(opened: Open) -> None:
    page = opened("sensitivity", sensed_bits_method="nf4")
    assert not page.exception
    assert "This method has one width: 4 bits." in told(page)


def test_a_model_without_a_head_is_estimated_only(opened: Open) -> None:
    page = opened("sensitivity", model="embedded-classifier")
    assert not page.exception
