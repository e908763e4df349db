"""Sensitivity without a browser: the sentence, the map, the proposals and their way to Trade-offs, the address."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import controls
from reparam_core import jobs
from reparam_core.jobs import sensitivity
from reparam_core.measure import sensitivity as measures
from reparam_core.recipes import Recipe
from tests.pages.conftest import Open, control, sentence, settled, titles, told


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and short sequences."""
    monkeypatch.setattr(sensitivity, "SEQUENCES", 4)
    monkeypatch.setattr(sensitivity, "LENGTH", 64)


def provenances(page: AppTest) -> list[str]:
    """What is exported with each chart, in the order of the page."""
    return [json.loads(one.proto.spec)["layout"]["meta"]["provenance"] for one in page.get("plotly_chart")]


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimates alone: no cell is measured."""

    def nothing(*_: Any) -> Iterator[dict[Any, Any]]:
        yield {}

    monkeypatch.setattr(jobs, "measured", nothing)


def test_it_opens_with_every_matrix_at_three_bits(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measures.POSITIONS, "bits", ({"bits": 4},))  # every cell is measured before the page is settled
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


@pytest.mark.usefixtures("unmeasured")
def test_before_eight_cells_are_measured_all_together_scale_the_estimates(opened: Open) -> None:
    page = opened("sensitivity")
    together, words = sentence(page).split("; ")[1], told(page)
    assert together.startswith("all together measured +")
    assert "predicted" not in together
    (factor,) = re.findall(r"estimate, from [^.]*, times (\S+) as all together were measured\. A click", words)
    assert float(factor) < 1
    same, _, split = re.findall(
        r"Estimates, scaled to what the same everywhere adds, add up to (\S+) nats a token", words
    )
    assert together.startswith(f"all together measured {same} "), "what scales them is no proof of them"
    assert float(split) < float(same)
    heat, curve = provenances(page)
    assert f", times {factor} as all together were measured; nothing measured yet" in heat
    assert f", times {factor} as all together were measured; nothing measured yet" in curve


@pytest.mark.usefixtures("unmeasured")
def test_what_nothing_scales_is_no_prediction(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "shipped_sources", lambda _model: [])
    page = opened("sensitivity")
    assert "; estimates add up to +" in sentence(page)
    assert "nats a token, often several times too much before a measurement scales them" in sentence(page)
    assert told(page).count("Estimates add up to +") == 3
    assert "redicted" not in told(page)
    assert ", times" not in told(page)


def test_measured_cells_make_a_sum_a_prediction(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def eight_cells(_model: Any, step: Any, *_: Any) -> Iterator[dict[Any, Any]]:
        yield {(step, f"layers.{layer}.mlp.{kind}"): jobs.Measured(0.01 + layer / 1000, 0.005, 0.02, 100)
               for layer in range(4) for kind in ("up", "down")}  # fmt: skip

    monkeypatch.setattr(jobs, "measured", eight_cells)
    page = opened("sensitivity")
    assert "; all together are predicted to add +" in sentence(page)
    assert told(page).count("Predicted, the sum of the parts: +") == 3
    heat, against, curve = provenances(page)
    assert " as the measured cells have it; measured on 100 tokens" in heat
    assert " as the measured cells have it; measured on 100 tokens" in curve
    assert ", times" not in against, "there the estimates stand as they are"


@pytest.mark.usefixtures("unmeasured")
def test_protecting_says_that_it_takes_more_bytes(opened: Open) -> None:
    page = opened("sensitivity", sensed_bits_method="nf4")
    assert "takes more bytes than the same everywhere" in control(page.button, "take-Protect the worst").help


@pytest.mark.usefixtures("unmeasured")
def test_the_address_is_the_view(opened: Open) -> None:
    page = opened("sensitivity", role="layers.1.mlp.down", sensed_axis="rank", sensed_rank="30", sensed_spared="2")
    assert not page.exception
    assert "one matrix at a time at 30 % of full rank (svd)" in sentence(page)
    assert titles(page)[-1].startswith("layers.1.mlp.down: ")
    assert "Protect the worst 2" in told(page)


@pytest.mark.parametrize("name", ["The same everywhere", "Protect the worst", "Split the budget by loss"])
@pytest.mark.usefixtures("unmeasured")
def test_a_proposal_goes_to_trade_offs(opened: Open, name: str) -> None:
    page = opened("sensitivity")
    page = control(page.button, f"take-{name}").click().run()
    typed = page.session_state["recipe"]
    if name == "The same everywhere":
        assert (typed, page.session_state["bits"], page.session_state["bits_group"]) == ("", 3, 64)
    else:
        rules = Recipe.parse(typed).rules
        assert rules[-1].steps["bits"] is None if name == "Protect the worst" else len(rules) > 1


@pytest.mark.parametrize("counted", [False, True])
def test_what_is_measured_counts_in_the_proposals_once_it_is_asked_for(
    opened: Open, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    def one_cell(_model: Any, step: Any, *_: Any) -> Iterator[dict[Any, Any]]:
        yield {(step, "layers.0.attention.k"): jobs.Measured(9.0, 8.0, 10.0, 100)}

    monkeypatch.setattr(jobs, "measured", one_cell)
    page = opened("sensitivity", sensed_spared="1")
    button = control(page.button, "count")
    assert button.label == "Use what is measured (1 of 294 cells)"
    if counted:
        page = settled(button.click().run())
        assert not page.exception
        assert "count" not in [one.key for one in page.button], "nothing more was measured since"
    page = control(page.button, "take-Protect the worst").click().run()
    spared = Recipe.parse(page.session_state["recipe"]).rules[-1].where
    assert (spared == "layers.0.attention.k") == counted


@pytest.mark.usefixtures("unmeasured")
def test_another_axis_keeps_the_matrix(opened: Open) -> None:
    page = opened("sensitivity", role="layers.2.mlp.up")
    control(page.button_group, "sensed_axis").set_value("sparsity")
    page = settled(page.run())
    assert not page.exception
    assert "at 50 % zeros (magnitude)" in sentence(page)
    assert titles(page)[-1].startswith("layers.2.mlp.up: ")


@pytest.mark.usefixtures("unmeasured")
def test_a_method_of_one_width_has_no_slider(opened: Open) -> None:
    page = opened("sensitivity", sensed_bits_method="nf4")
    assert not page.exception
    assert "This method has one width: 4 bits." in told(page)


def test_a_model_without_a_head_is_estimated_only(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "shipped_sources", lambda _model: [])
    page = opened("sensitivity", model="embedded-encoder")
    assert not page.exception
    assert "This model has no head to score: its estimates are all there is." in told(page)
    assert "together no head to score" in told(page)


@pytest.mark.usefixtures("unmeasured")
def test_a_links_recipe_is_for_the_pages_that_have_its_controls(opened: Open) -> None:
    page = opened("sensitivity", bits="4", rank_method="als", sensed_bits="99", nonsense="1")
    assert not page.exception
    assert "nonsense=1 (no control here takes it)" in told(page)
    assert "sensed_bits=99 (3 is used)" in told(page), "what this page's own controls refuse is still told"
    assert "bits=4" not in told(page).replace("sensed_bits", "")
    assert "rank_method" not in told(page)
    assert page.session_state["address"]["bits"] == ["4"], "it goes along to the next page"
    page = control(page.button, "take-Protect the worst").click().run()
    assert not {"bits", "rank_method"} & {*page.session_state["address"], *page.session_state["unheard"]}, (
        "but not over a recipe"
    )


@pytest.mark.usefixtures("unmeasured")
def test_a_rewrite_that_is_left_out_is_told_in_one_line(opened: Open) -> None:
    assert "is left out here" not in told(opened("sensitivity"))
    page = opened("sensitivity", transform="rotate")
    assert "The setting's rewrite (rotate) is left out here" in told(page)
    page.session_state["in_force"] = "fold-norms + rtn:4"
    assert "The setting's rewrite (fold-norms) is left out here" in told(page.run())


@pytest.mark.usefixtures("unmeasured")
def test_the_help_tells_of_the_scale_of_estimates(opened: Open) -> None:
    (help_of_the_sentence,) = [one.help for one in opened("sensitivity").markdown if one.value.startswith("####")]
    assert "From 8 measured cells on estimates are multiplied" in help_of_the_sentence
    assert "the next cell is the one that may be farthest off" in help_of_the_sentence


@pytest.mark.usefixtures("unmeasured")
def test_a_classifiers_loss_is_one_a_sentence(opened: Open) -> None:
    page = opened("sensitivity", model="embedded-encoder")
    assert "nats a sentence" in sentence(page)
    assert "nats a token" not in told(page)
