"""Pictures of attention: sprites hold what they should, titles say what was found, tokens cannot break them."""

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from reparam_core.figures.attention import (
    COLUMNS,  # fmt: skip
    ROWS,
    grid_figure,
    grid_title,
    head_figure,
    most_moved,
    palette,
    shown,
    sprite,
    strip,
)
from reparam_core.figures.theme import IN_THE_DARK, INK, LINE, SLIDE_FOOTER_SIZE, for_slides, in_the_dark
from reparam_core.measure.attention import HeadChange, Maps, View, compare

WHERE = "embedded-decoder · self-attention"


def change_of(side: int = 12, layers: int = 2, heads: int = 3, token: str = "word") -> HeadChange:
    """Heads that look at the token before; the first of the second layer looks evenly at all once it is changed."""
    past = torch.ones(side, side).tril()
    even, before = past / past.sum(-1, keepdim=True), torch.eye(side).roll(1, 0)
    before[0] = torch.eye(side)[0]
    first = before.repeat(layers, heads, 1, 1)
    second = first.clone()
    second[1, 0] = even
    names = {"self-attention": [f" {token}{index}" for index in range(side)]}
    return compare(*(Maps({"self-attention": one}, names, names) for one in (first, second)))["self-attention"]


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))


@pytest.mark.parametrize("rim", [0, 2])
def test_a_sprite_has_every_thumbnail_in_its_place_and_colour(rim: int) -> None:
    tiles = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    picture = np.asarray(decoded(sprite(tiles, signed=False, rim=rim)).convert("RGBA"))
    assert picture.shape == (2 * (4 + 2 * rim), 3 * (5 + 2 * rim), 4)
    for layer in range(2):
        for head in range(3):
            y, x = layer * (4 + 2 * rim) + rim, head * (5 + 2 * rim) + rim
            wanted = palette(False)[tiles[layer, head]]
            seen = wanted[..., 3] > 0  # a clear pixel has no colour
            assert np.array_equal(picture[y : y + 4, x : x + 5][seen], wanted[seen])
            assert np.array_equal(picture[y : y + 4, x : x + 5, 3], wanted[..., 3])


def test_differences_are_clear_at_zero_and_of_two_hues() -> None:
    colours = palette(True)
    assert colours[0, 3] == colours[128, 3] == 0
    assert colours[1, 3] == colours[255, 3] == 255
    assert colours[1, 2] > colours[1, 0], "less is blue"
    assert colours[255, 0] > colours[255, 2], "more is orange"


def test_270_long_heads_are_half_a_megabyte() -> None:
    tiles = np.random.default_rng(0).integers(1, 255, (30, 9, 64, 64), dtype=np.uint8) * np.tri(64, dtype=np.uint8)
    assert len(sprite(tiles, signed=False)) < 1_000_000


def test_titles_say_what_was_found() -> None:
    change = change_of()

    def title(view: View) -> str:
        return head_figure(change, view, (1, 0), WHERE).layout.title.text.replace("<br>", " ")

    assert title("before") == "Before, layer 1 head 0 gives 100% of its weight to the token before (0.0 bits)"
    assert title("after").startswith("After, layer 1 head 0 ")
    assert "moves by" in title("difference")
    assert "does not move" in head_figure(change, "difference", (0, 2), WHERE).layout.title.text.replace("<br>", " ")
    assert most_moved(change) == (1, 0)
    assert grid_title(change, "difference").startswith("Layer 1 head 0 moves most")
    assert grid_title(change, "before").startswith("Before: 2 layers × 3 heads")
    found = strip(change.divergence, "Moved", "bits", (0, 1), WHERE).layout.title.text.replace("<br>", " ")
    assert found.startswith("Moved: from 0.00 (layer 0 head 0) to ")
    assert "(layer 1 head 0)" in found


def test_before_and_after_have_the_same_colours() -> None:
    change = change_of()
    ends = {view: head_figure(change, view, (1, 0), WHERE).data[0].zmax for view in ("before", "after")}
    assert ends["before"] == ends["after"]
    signed = head_figure(change, "difference", (1, 0), WHERE).data[0]
    assert signed.zmin == -signed.zmax


def test_masked_keys_are_blank_and_weights_stand_in_the_hover() -> None:
    change = change_of()
    (map_,) = head_figure(change, "after", (1, 0), WHERE).data
    assert np.array_equal(np.isnan(map_.z), ~change.visible.numpy())
    assert np.allclose(map_.customdata, change.after[1, 0])
    assert np.allclose(np.nan_to_num(map_.z) ** 2, change.after[1, 0], atol=1e-6)


@pytest.mark.parametrize("side", [1, 5, ROWS, COLUMNS + 1, 256])
def test_every_token_has_a_label_until_there_are_too_many(side: int) -> None:
    figure = head_figure(change_of(max(side, 2)), "after", (0, 0), WHERE)
    assert 1 <= len(figure.layout.yaxis.tickvals) <= ROWS
    assert set(figure.layout.xaxis.tickvals) <= set(figure.data[0].x)
    assert len(set(figure.data[0].x)) == max(side, 2), "the same token twice is two places"
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "category", "tokens like 1861 are no dates"


def test_tokens_are_shown_harmlessly() -> None:
    assert shown(" the") == "·the"
    assert shown("\n") == "⏎"
    assert shown("</s>") == "&lt;/s&gt;"
    assert shown("incomprehensibilities") == "incomprehe…"


@pytest.mark.parametrize(
    ("side", "told"), [(ROWS, ""), (ROWS + 1, "every 2nd"), (3 * ROWS, "every 3rd"), (256, "every 13th")]
)
def test_an_axis_says_so_where_not_every_token_is_labelled(side: int, told: str) -> None:
    title = head_figure(change_of(side), "after", (0, 0), WHERE).layout.yaxis.title.text.replace("<br>", " ")
    assert title == (f"query: what looks ({told} token labelled)" if told else "query: what looks")


@pytest.mark.parametrize("token", ["a", "Constitution"])
def test_labels_and_footer_do_not_meet_on_a_slide(token: str) -> None:
    """The footer begins below what hangs from the keys' axis: its labels and its title."""
    slide = for_slides(head_figure(change_of(token=token), "after", (0, 0), WHERE))
    longest = max(map(len, slide.layout.xaxis.ticktext))
    assert slide.layout.margin.b - LINE * SLIDE_FOOTER_SIZE > 0.5 * slide.layout.xaxis.tickfont.size * longest + 20


@pytest.mark.parametrize("layers", [2, 30])
def test_the_grid_s_slide_names_layers_and_heads(layers: int) -> None:
    figure = grid_figure(change_of(layers=layers), "after", WHERE)
    across = figure.layout.xaxis.title.text
    assert across == ("layer" if layers > 3 else "head")
    assert len(figure.layout.xaxis.ticktext) == max(layers, 3)
    assert figure.layout.meta["provenance"] == WHERE


def test_the_selected_head_is_ringed_and_few_heads_are_numbered() -> None:
    change = change_of()
    figure = strip(change.divergence, "Moved", "bits", (1, 2), WHERE)
    (ring,) = figure.layout.shapes
    assert (ring.x0, ring.y0) == (1.5, 0.5)
    assert figure.data[0].texttemplate
    many = strip(torch.rand(30, 9), "Moved", "bits", (20, 3), WHERE)
    (ring,) = many.layout.shapes
    assert (ring.x0, ring.y0) == (19.5, 2.5), "the longer side runs to the right"
    assert not many.data[0].texttemplate


def test_numbers_on_colours_that_fade_out_change_with_the_page() -> None:
    figure = strip(change_of().divergence - 0.1, "Change of entropy", "bits", (0, 0), WHERE, signed=True)
    assert figure.data[0].textfont.color == INK
    assert in_the_dark(figure).data[0].textfont.color == IN_THE_DARK[INK]


def test_every_figure_survives_the_dark() -> None:
    change = change_of()
    for figure in (
        head_figure(change, "difference", (1, 0), WHERE),
        strip(change.divergence, "Moved", "bits", (0, 0), WHERE),
    ):
        assert json.loads(in_the_dark(figure).to_json())["data"]


def test_what_is_small_is_not_told_as_nothing() -> None:
    change = change_of()
    slight = replace(change, divergence=change.divergence * 0 + torch.tensor([0.0016, 0.0031, 0.0024]))
    assert head_figure(slight, "difference", (1, 0), WHERE).layout.title.text.startswith(
        "Layer 1 head 0 moves by 0.0016 bits"
    )
    assert (
        grid_title(slight, "difference")
        == "Layer 0 head 1 moves most: 0.0031 bits; half of the 6 heads less than 0.0024"
    )
    assert strip(slight.divergence, "Moved", "bits", (0, 0), WHERE).layout.title.text.replace("<br>", " ") == (
        "Moved: from 0.0016 (layer 0 head 0) to 0.0031 bits (layer 0 head 1), 0.0024 on average"
    )


def test_a_minus_is_printed_as_one() -> None:
    figure = head_figure(change_of(), "difference", (1, 0), WHERE)
    told = [str(figure.layout.title.text), *figure.data[0].colorbar.ticktext]
    assert any("−" in one for one in told[1:])
    assert not any(re.search(r"-\d", one) for one in told)
