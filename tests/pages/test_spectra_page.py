"""Spectra without a browser: the sentence, the cut, the views, before and after, the address."""

import json
import re
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import charts, spectra_views
from reparam_core import ReparamError, jobs
from reparam_core.models import load
from tests.pages.conftest import Open, control, sentence, settled, titles, told


def picture(page: AppTest) -> dict[str, Any]:
    """What the drawn component was given."""
    (found,) = page.get("bidi_component")
    return dict(json.loads(found.proto.json))


def test_it_opens_at_break_even_of_the_first_query_matrix(opened: Open) -> None:
    page = opened("spectra")
    assert not page.exception
    assert sentence(page).startswith(
        "#### layers.0.attention.q (256 × 256) cut at rank 128 keeps 92.5% of the energy in 1.00× the numbers; "
        "relative error 27.3%; perplexity on the addresses "
    )
    shown = picture(page)
    assert (shown["cut"], shown["even"], shown["after"], len(shown["sigma"])) == (128, 128, None, 256)
    assert {one["rank"] for one in shown["loss"]["points"]} >= {64, 128, 1}
    assert all(one["final"] for one in shown["loss"]["points"])
    assert r"r(m+n)=128\cdot512=65,536" in told(page)


def test_the_address_is_the_view(opened: Open) -> None:
    page = opened("spectra", role="layers.3.mlp.down", cut="200", sparsity="60")
    assert (control(page.selectbox, "matrix_kind").value, control(page.number_input, "matrix_layer").value) == (
        "mlp.down",
        3,
    )
    assert "cut at rank 200" in sentence(page)
    assert "a loss above break-even" in sentence(page)
    assert len(picture(page)["after"]) == 256
    assert picture(page)["hue"] == "sparsity"
    assert "After the setting, with all blocks at 60 % zeros (magnitude)" in told(page)


def test_another_matrix_keeps_the_layer_and_a_rank_that_it_has(opened: Open) -> None:
    page = opened("spectra", role="layers.3.mlp.down", cut="200")
    control(page.selectbox, "matrix_kind").set_value("attention.k")
    page = settled(page.run())
    assert sentence(page).startswith("#### layers.3.attention.k (128 × 256) cut at rank 128 ")
    assert page.query_params["role"] == "layers.3.attention.k"
    control(page.selectbox, "matrix_kind").set_value("embedding")
    page = settled(page.run())
    assert sentence(page).startswith("#### embedding (4096 × 256) ")
    assert control(page.number_input, "matrix_layer").disabled


def test_the_sentence_rounds_as_the_picture_does(opened: Open) -> None:
    assert " in 0.63× the numbers" in sentence(opened("spectra", cut="80")), "80 · 512 of 65,536 is 0.625"


def test_a_setting_that_leaves_the_matrix_alone_says_so(opened: Open) -> None:
    page = opened("spectra", role="layers.3.mlp.down", rank="20")
    assert picture(page)["after"] is None
    assert "leaves this matrix alone" in told(page)


@pytest.mark.parametrize(
    ("quantity", "words"), [("entropy rank", "Entropy rank: from "), ("numbers at 90 % energy", "Numbers at 90 % energy: from ")]
)  # fmt: skip
def test_all_layers_map_a_quantity_and_overlay_the_chosen_kind(opened: Open, quantity: str, words: str) -> None:
    page = opened("spectra", spectra_view="All layers", map_quantity=quantity)
    ranks, depth = titles(page)
    assert ranks.startswith(words)
    assert depth.startswith("attention.q: ")


def test_the_footer_says_what_the_loss_was_scored_on(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(charts, "downloads", lambda make, *_: given.append(str(make().to_dict())))
    opened("spectra", role="layers.1.mlp.up", cut="40")
    assert "perplexity on the addresses: 512 tokens in float32, sequences of 257" in re.sub(
        r"\s*<br>\s*", " ", given[-1]
    )


def test_what_one_looks_at_goes_first(opened: Open) -> None:
    page = opened("spectra", spectra_view="Alternating least squares", cut="16")
    lanes = {name: ticket.lane for name, (_wanted, ticket) in page.session_state["asked"].items()}
    assert lanes == {"spectrum": "interactive", "cut-0": "background", "cut-1": "background", "als": "interactive"}
    lanes = {name: ticket.lane for name, (_wanted, ticket) in opened("spectra").session_state["asked"].items()}
    assert lanes == {"spectrum": "interactive", "cut-0": "interactive", "cut-1": "background", "cuts": "background"}


def test_all_layers_show_what_the_setting_changed(opened: Open) -> None:
    page = opened("spectra", spectra_view="All layers", side="difference", rank="20")
    ranks, depth = titles(page)
    assert ranks.startswith("Entropy rank, difference: from −")
    assert " points in " in ranks
    assert " to 0.0 points in layers." in ranks, "what does not move has no sign"
    assert depth.startswith("attention.q, before: ")


def test_the_spectra_below_the_map_are_of_the_side_that_it_shows(opened: Open) -> None:
    before, after = (titles(opened("spectra", spectra_view="All layers", side=side, rank="20"))[1]
                     for side in ("before", "after"))  # fmt: skip
    assert before.startswith("attention.q, before: ")
    assert after.startswith("attention.q, after: ")


@pytest.mark.parametrize(("model", "units"), [("embedded-encoder", "sentences"), ("embedded-decoder", "tokens")])
def test_what_is_still_scored_is_told_in_the_models_units(opened: Open, model: str, units: str) -> None:
    loaded, running = load(model), jobs.Ticket("", "", lambda: iter(()), "interactive", state="running")
    view = spectra_views.View(loaded, "layers.0.attention.q", "", 8, ["movie-reviews"], running, [running])
    assert spectra_views.doing_of(view, None) == f"scoring the first {units}"


def test_a_sentence_that_goes_on_keeps_its_ellipsis_on_the_line(opened: Open) -> None:
    waiting = jobs.Ticket("", "", lambda: iter(()), "interactive")
    found = opened("spectra").session_state["asked"]["spectrum"][1]
    for spectrum in (waiting, found):
        view = spectra_views.View(
            load("embedded-decoder"), "layers.0.attention.q", "", 8, ["addresses"], spectrum, [waiting]
        )
        assert spectra_views.sentence(view).endswith("\N{NO-BREAK SPACE}…")


def test_als_stands_beside_the_optimum(opened: Open) -> None:
    page = opened("spectra", spectra_view="Alternating least squares", cut="16")
    loss, excess = titles(page)
    assert loss.startswith("Rank 16 by ALS: ")
    assert excess.startswith("The excess falls to ")
    assert "Eckart–Young" in told(page)


def test_a_model_without_a_head_has_spectra_and_says_why_no_loss(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load("embedded-encoder-pretrained"), "objective", "encoder")
    page = opened("spectra", model="embedded-encoder-pretrained")
    assert not page.exception
    assert sentence(page).startswith("#### layers.0.attention.q (192 × 192) cut at rank 96 ")
    assert "perplexity" not in sentence(page)
    assert picture(page)["loss"]["reason"] == "this model has no head to score"


def test_the_cut_goes_to_trade_offs_as_a_recipe(opened: Open) -> None:
    page = opened("spectra", role="layers.1.mlp.up", cut="40")
    next(one for one in page.button if one.label == "Apply this cut").click()
    page.run()
    assert json.loads(page.session_state["recipe"]) == json.loads(jobs.cut_recipe("layers.1.mlp.up", 40))


def test_a_failed_job_is_told_in_place_and_asked_again(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise ReparamError("The spectrum cannot be had.", "Wait.")

    with monkeypatch.context() as patched:
        patched.setattr(jobs.spectra, "spectrum_of", broken)
        page = opened("spectra")
        assert page.error[0].value.startswith("The spectrum cannot be had.")
    control(page.button, "again-spectrum").click()
    page = settled(page.run())
    assert not page.error
    assert sentence(page).startswith("#### layers.0.attention.q")


def test_a_wrong_recipe_is_a_line_in_place(opened: Open) -> None:
    page = opened("spectra", recipe="svd:7")
    assert not page.exception
    assert page.error
