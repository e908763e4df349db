"""What a link says is taken up by whichever page runs, and what it says in vain is told."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from reparam_core.data import keep_own
from tests.pages.conftest import Open, sentence, settled, titles

APP = Path(__file__).resolve().parents[2] / "app.py"


def misread(page: AppTest) -> str:
    return " ".join(one.value for one in page.caption if "Not understood in the address" in one.value)


@pytest.fixture
def app() -> AppTest:
    """The whole dashboard, as a link to its first page opens it."""
    return AppTest.from_file(str(APP), default_timeout=120)


def gone_to(app: AppTest, page: str) -> AppTest:
    """A click on another page in the sidebar, which empties the address."""
    app.switch_page(f"pages/{page}.py")
    app.query_params.clear()
    return settled(app.run())


def test_a_link_goes_along_to_another_page(app: AppTest) -> None:
    app.query_params.update({"model": "embedded-seq2seq", "recipe": "svd:r8", "pinned": "rtn:4g64"})
    app.run()
    spectra = gone_to(app, "spectra")
    assert sentence(spectra).startswith("#### encoder.layers.0.attention.q (128 × 128)")
    assert not misread(spectra)
    assert spectra.query_params == {
        "model": "embedded-seq2seq", "recipe": "svd:r8", "role": "encoder.layers.0.attention.q"}  # fmt: skip
    back = gone_to(app, "trade_offs")
    assert back.query_params == {"model": "embedded-seq2seq", "recipe": "svd:r8", "pinned": "rtn:4g64"}


def test_what_is_of_one_page_waits_for_it(app: AppTest) -> None:
    app.switch_page("pages/attention.py")
    app.query_params.update({"layer": "2", "rank": "20"})
    app.run()
    spectra = gone_to(app, "spectra")
    assert not misread(spectra)
    assert spectra.query_params == {"rank": "20", "role": "layers.0.attention.q"}
    attention = gone_to(app, "attention")
    assert titles(attention)[0].startswith("After, layer 2 head 0 ")
    assert attention.query_params == {"layer": "2", "rank": "20"}


def test_what_the_link_said_and_was_changed_since_stays_changed(app: AppTest) -> None:
    app.query_params.update({"model": "embedded-seq2seq", "rank": "20"})
    next(one for one in app.run().select_slider if one.key == "rank").set_value(40)
    attention = gone_to(settled(app.run()), "attention")
    assert "at 40 % of full rank" in sentence(attention)
    assert attention.query_params == {"model": "embedded-seq2seq", "rank": "40"}


def chosen(page: AppTest, key: str, value: str) -> AppTest:
    """A menu set by hand, which a browser writes into the address itself."""
    next(one for one in page.selectbox if one.key == key).set_value(value)
    page.query_params[key] = value
    return page.run()


@pytest.mark.parametrize(("start", "between", "group"), [
    ({}, [], 64), ({}, ["bits_method=binary", "bits_method=ternary"], 64), ({"bits_group": "128"}, ["bits_method=mxfp4"], 128),
    ({}, ["bits_group=row"], "row"), ({"bits_method": "codebook"}, [], 64),
])  # fmt: skip
def test_the_address_says_what_the_menus_hold_after_a_method_that_takes_less(
    opened: Open, start: dict[str, str], between: list[str], group: object
) -> None:
    page = opened("spectra", bits="4", **start)
    for said in (*between, "bits_method=codebook", "bits_method=gptq"):
        page = chosen(page, *said.split("="))
    fresh = opened("spectra", **page.query_params)
    for one in (page, fresh):
        assert (one.session_state["bits"], one.session_state["bits_group"]) == (4, group)
        assert not misread(one)


def test_what_spectra_does_not_understand_is_told(opened: Open) -> None:
    page = opened("spectra", matrix="nonsense", role="layers.99.mlp.up", cut="9999", spectra_view="Everything")
    for said in ("matrix=nonsense (no control here takes it)", "role=layers.99.mlp.up (layers.0.attention.q is used)",
                 "cut=9999 (128 is used)", "spectra_view=Everything (One matrix is used)"):  # fmt: skip
        assert said in misread(page)
    assert set(page.query_params) == {"role"}
    page.button(key="put-away").click()
    assert not misread(settled(page.run()))


def test_what_attention_does_not_understand_is_told(opened: Open) -> None:
    page = opened("attention", model="embedded-seq2seq", kind="bogus", view="Sideways", asked="1")
    for said in ("kind=bogus (Cross is used)", "view=Sideways (After is used)", "asked=1 (no control here takes it)"):
        assert said in misread(page)
    assert set(page.query_params) == {"model"}
    assert "kind=bogus (no control here takes it)" in misread(opened("attention", kind="bogus"))


def test_what_stands_in_place_of_it_is_said_as_the_control_shows_it(opened: Open) -> None:
    page = opened("trade_offs", rank_where="bogus", rank_layers="x", bits_group="7", bits_symmetric="maybe",
                  text_causal="bogus")  # fmt: skip
    for said in ("rank_where=bogus (Q/K/V is used)", "rank_layers=x (0 to 5 is used)", "bits_group=7 (64 is used)",
                 "bits_symmetric=maybe (off is used)", "text_causal=bogus (Presidential addresses is used)"):  # fmt: skip
        assert said in misread(page)


def test_what_is_understood_needs_no_word(opened: Open) -> None:
    page = opened("attention", model="embedded-seq2seq", kind="Encoder", layer="1", head="2", view="Difference", rank="30",
                  quantity="Entropy after", share="true")  # fmt: skip
    assert not misread(page)
    page = opened("spectra", role="layers.1.mlp.up", cut="40", spectra_view="All layers", map_quantity="energy")
    assert "role" not in misread(page)


def test_nothing_stands_beside_a_source_that_is_alone_of_its_kind(opened: Open) -> None:
    keep_own(b"text,label\n" + b"fine,1\npoor,0\n" * 8, ".csv")
    page = opened("spectra", model="embedded-encoder")
    assert next(one.value for one in page.selectbox if one.key == "beside_classification") == "nothing"
