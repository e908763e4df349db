"""Attention without a browser: the sentence, the views, one head, the address, mistakes."""

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from reparam_core import ReparamError, jobs
from reparam_core.measure import attention as measured
from reparam_core.models import load
from tests.pages.conftest import Open, control, sentence, settled, titles


def captions(page: AppTest) -> str:
    return " ".join(one.value for one in page.caption)


def test_it_opens_on_the_untouched_decoder(opened: Open) -> None:
    page = opened("attention")
    assert not page.exception
    assert sentence(page).startswith("#### embedded-decoder untouched: its 48 heads of self-attention look ")
    assert titles(page)[0].startswith("After, layer 0 head 0 ")
    assert control(page.button, "most-moved").disabled, "nothing moved"


def test_a_slider_moves_the_heads(opened: Open) -> None:
    page = opened("attention", rank="20")
    assert sentence(page).startswith(
        "#### embedded-decoder with attention Q/K/V at 20 % of full rank (svd): its 48 heads"
    )
    assert "bits on average, layer " in sentence(page)
    control(page.button, "most-moved").click()
    page.run()
    layer, head = (control(page.number_input, name).value for name in ("layer", "head"))
    assert f"layer {layer} head {head} most" in sentence(page)
    assert titles(page)[0].startswith(f"After, layer {layer} head {head} ")


def test_the_address_is_the_view(opened: Open) -> None:
    page = opened(
        "attention", rank="20", layer="4", head="6", view="Difference", quantity="Entropy after", share="true"
    )
    large, strip = titles(page)
    assert large.startswith("Layer 4 head 6 moves by ")
    assert strip.startswith("Entropy after: from ")
    assert "of the widest" in strip


@pytest.mark.parametrize(("layer", "head"), [("99", "0"), ("0", "-3"), ("x", "1.5")])
def test_a_head_that_is_not_there_is_another_one(opened: Open, layer: str, head: str) -> None:
    page = opened("attention", layer=layer, head=head)
    assert not page.exception
    assert titles(page)[0].startswith("After, layer ")


def test_another_model_may_have_fewer_heads(opened: Open) -> None:
    page = opened("attention", model="minilm-l6", layer="5", head="11")
    assert titles(page)[0].startswith("After, layer 5 head 11 ")
    control(page.selectbox, "model").set_value("embedded-seq2seq")
    settled(page.run())
    assert not page.exception
    assert titles(page)[0].startswith("After, layer 2 head 3 ")


def test_an_encoder_decoder_has_three_kinds_on_the_base_s_answer(opened: Open) -> None:
    page = opened("attention", model="embedded-seq2seq", rank="10")
    assert "12 heads of cross-attention" in sentence(page)
    assert "both read the base's answer" in captions(page)
    assert "no division by √d_k" in captions(page)
    page = opened("attention", model="embedded-seq2seq", rank="10", kind="Encoder")
    assert "16 heads of encoder self-attention" in sentence(page)
    assert "B is a learned bias" in captions(page)


def test_minilm_sees_every_key(opened: Open) -> None:
    page = opened("attention", model="minilm-l6", rank="30")
    assert "72 heads of self-attention move" in sentence(page)
    assert "every key is seen" in captions(page)


def test_the_formula_has_the_model_s_numbers(opened: Open) -> None:
    page = opened("attention")
    assert "8 heads, d_k = 32" in captions(page)
    assert "each of 4 keys and values serves 2 heads (grouped queries)" in captions(page)
    assert "causal mask" in captions(page)
    assert any("softmax" in one.value for one in page.latex)


def test_a_long_prompt_is_cut_and_says_so(opened: Open) -> None:
    page = opened("attention", prompt_causal="The Congress shall have the power. " * 60)
    assert not page.exception
    assert "its first 256 tokens are read, the last 166 were left out" in captions(page)
    first_chart = next(index for index, one in enumerate(page.main) if one.type == "plotly_chart")
    cut = next(index for index, one in enumerate(page.main) if "left out" in str(getattr(one, "value", "")))
    assert cut < first_chart, "said at the prompt"


def test_an_empty_prompt_says_what_to_do_and_keeps_the_last_picture(opened: Open) -> None:
    page = opened("attention", prompt_causal="War and peace.")
    before = titles(page)
    control(page.text_input, "prompt_causal").set_value("   ")
    settled(page.run())
    assert not page.error
    assert "Write what the model shall read; until then it is “War and peace.”." in captions(page)
    assert titles(page) == before
    page = opened("attention", prompt_causal="")
    assert "until then it is “The President sent a message" in captions(page)
    assert titles(page)


def test_small_effects_keep_two_digits(opened: Open) -> None:
    page = opened("attention", rank="95", layer="5", head="4")
    grid = page.get("bidi_component")[0]
    moved = re.findall(r"moved by ((?:below )?\S+) bits", grid.proto.json)
    assert len(moved) == 48
    assert not {"0.00", "0.000"} & set(moved)
    assert "Layer 5 head 4: 0.00" in captions(page)
    assert re.search(r"Layer 5 head 4: 0\.00\d\d bits", captions(page))


def test_others_maps_may_take_the_room_of_these(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened("attention", rank="20")
    before = titles(page)
    monkeypatch.setattr(jobs.attention, "_shelf", jobs.attention._Shelf(2_000_000))
    page = settled(page.run())
    assert not page.exception
    assert titles(page) == before


def test_a_window_is_named_where_the_layer_has_one(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "windows_of", lambda _model: (None, 6, 4096, None, None, None))
    page = opened("attention", layer="1", prompt_causal="War and peace, peace and war.")
    assert "each query sees itself and the 5 keys before it" in captions(page)
    assert "M also hides what lies further back" in captions(page)
    page = opened("attention", layer="2", prompt_causal="War and peace, peace and war.")
    assert "a window of 4,096 keys, which is wider than this prompt" in captions(page)


def test_a_model_without_a_tokenizer_is_one_line(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load("embedded-encoder-pretrained"), "tokenizer", None)
    page = opened("attention", model="embedded-encoder-pretrained")
    assert not page.exception
    assert [one.value for one in page.error] == [
        "embedded-encoder-pretrained has no tokenizer. Choose a model with one."
    ]


def test_undo_takes_a_setting_back(opened: Open) -> None:
    page = opened("attention")
    control(page.select_slider, "rank").set_value(20)
    settled(page.run())
    assert "20 % of full rank" in sentence(page)
    control(page.button, "undo").click()
    settled(page.run())
    assert "untouched" in sentence(page)


def shade(page: AppTest) -> str:
    """Of the container that holds the pictures: `fresh`, or `stale` where they are greyed."""
    blocks = [one for one in page.main if hasattr(one, "proto") and hasattr(one.proto, "id")]
    return next(shade for one in blocks for shade in ("fresh", "stale") if one.proto.id.endswith(f"-{shade}"))


def test_the_last_pictures_are_greyed_while_newer_ones_come(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    page = opened("attention", rank="20")
    before, may_go_on = titles(page), threading.Event()
    assert shade(page) == "fresh"
    real = jobs.attended

    def slow(*asked: Any) -> Iterator[Any]:
        yield jobs.Explored(doing="Reading slowly")
        may_go_on.wait(60)
        yield from real(*asked)

    monkeypatch.setattr(jobs, "attended", slow)
    try:
        control(page.select_slider, "rank").set_value(50)
        page.run()
        assert shade(page) == "stale"
        assert titles(page) == before, "the last pictures stay meanwhile"
        assert "20 % of full rank" in sentence(page), "and say whose they are"
    finally:
        may_go_on.set()
    settled(page)
    assert shade(page) == "fresh"
    assert "50 % of full rank" in sentence(page)


def test_a_failed_reading_is_told_in_place_and_asked_again(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[Any]:
        raise ReparamError("The maps cannot be had.", "Wait.")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "attended", broken)
        page = opened("attention")
        assert page.error[0].value.startswith("The maps cannot be had.")
        assert not page.get("plotly_chart")
    control(page.button, "again-attention").click()
    page = settled(page.run())
    assert not page.error
    assert sentence(page).startswith("#### embedded-decoder untouched")


def test_a_prompt_of_one_token_moves_nothing(opened: Open) -> None:
    page = opened("attention", rank="20", prompt_causal="a")
    assert "none of its 48 heads of self-attention moves on this prompt; entropy 0.00 bits." in sentence(page)


def test_equal_entropies_are_one_number(opened: Open) -> None:
    page = opened("attention")
    assert re.search(r"Layer 0 head 0: \d\.\d\d bits\.", captions(page))
    assert "None" not in captions(page) + sentence(page) + page.get("bidi_component")[0].proto.json


def test_marks_of_a_prompt_are_letters_in_the_footer_and_in_words(opened: Open) -> None:
    page = opened("attention", prompt_causal="<b>war</b> $x_1$ **peace**")
    footers = [json.loads(one.proto.spec)["layout"]["meta"]["provenance"] for one in page.get("plotly_chart")]
    assert all("“&lt;b&gt;war&lt;/b&gt; $x_1$ **peace**”" in one for one in footers)
    control(page.text_input, "prompt_causal").set_value("")
    settled(page.run())
    assert r"until then it is “<b>war</b> \$x\_1\$ \*\*peace\*\*”" in captions(page)
