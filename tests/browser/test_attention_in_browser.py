"""The attention page in a real browser: point at a head, move by keys, come back by link, read 256 tokens."""

from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect

from reparam_core.models import ENTRIES, fit

pytestmark = pytest.mark.browser
LONG = "The President sent a message to the Congress, and the Congress sent an answer to the President. " * 16
SMOLLM2 = "smollm2-135m-instruct"


def opened(page: Page, address: str) -> Locator:
    """The grid, once its thumbnails and the large head are there."""
    page.goto(address)
    page.wait_for_selector(".heads [role=gridcell]")
    page.wait_for_selector(".js-plotly-plot .gtitle")
    return page.locator(".heads [role=grid]")


def large(page: Page) -> Locator:
    """The title of the large head."""
    return page.locator(".js-plotly-plot .gtitle").first


def painted(page: Page) -> int:
    """How many pixels of the thumbnails' canvas are not clear."""
    return int(
        page.evaluate("""() => {
        const canvas = [...document.querySelectorAll('*')].map(one => one.shadowRoot?.querySelector('canvas.all')).find(Boolean);
        const bytes = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let seen = 0;
        for (let i = 3; i < bytes.length; i += 4) seen += bytes[i] > 0;
        return seen;
    }""")
    )


def test_a_click_on_a_thumbnail_shows_that_head_large(address: str, page: Page) -> None:
    opened(page, f"{address}/attention?rank=20")
    assert page.locator(".heads [role=gridcell]").count() == 48
    page.wait_for_timeout(500)
    assert painted(page) > 20_000
    page.get_by_role("gridcell", name="layer 4, head 6: entropy").click()
    expect(large(page)).to_contain_text("After, layer 4 head 6")
    assert "layer=4" in page.url
    assert "head=6" in page.url
    assert page.locator(".heads [role=gridcell][aria-selected=true]").get_attribute("aria-label") is not None
    again = page.context.new_page()
    opened(again, page.url)
    expect(large(again)).to_contain_text("After, layer 4 head 6")
    expect(again.get_by_role("gridcell", name="layer 4, head 6: entropy")).to_have_attribute("aria-selected", "true")
    assert again.url == page.url


def test_arrows_move_and_enter_opens(address: str, page: Page) -> None:
    grid = opened(page, f"{address}/attention?rank=20")
    grid.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "End", "ArrowLeft"):
        page.keyboard.press(key)
    expect(grid).to_have_attribute("aria-activedescendant", "head-2-6")
    expect(page.locator(".heads .lens")).to_contain_text("Layer 2, head 6")
    expect(large(page)).to_contain_text("layer 0 head 0")  # nothing is opened by moving
    page.keyboard.press("Enter")
    chosen = page.locator(".heads [role=gridcell][aria-selected=true]")
    expect(chosen).to_have_attribute("id", "head-2-6")  # at once, before the large picture is there
    expect(large(page)).to_contain_text("layer 2 head 6")
    expect(grid).to_be_focused()
    expect(chosen).to_have_class("cursor")  # the keys stay where they are, and are seen there
    assert chosen.evaluate("one => getComputedStyle(one).boxShadow") != "none"
    expect(page.locator(".heads .spoken")).to_contain_text("Layer 2, head 6")
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowUp")
    expect(grid).to_have_attribute("aria-activedescendant", "head-0-0")
    page.keyboard.press(" ")
    expect(large(page)).to_contain_text("layer 0 head 0")


def test_the_views_and_the_kinds(address: str, page: Page) -> None:
    opened(page, f"{address}/attention?model=embedded-seq2seq&rank=20")
    for view, words in (("Before", "Before, layer 0 head 0"), ("Difference", "Layer 0 head 0 moves by")):
        page.get_by_text(view, exact=True).click()
        expect(large(page)).to_contain_text(words)
    page.get_by_text("Encoder", exact=True).click()
    expect(page.locator(".heads [role=gridcell]")).to_have_count(16)
    assert "kind=Encoder" in page.url
    assert "view=Difference" in page.url


def test_thumbnails_and_the_large_head_are_saved_as_slides(address: str, page: Page) -> None:
    opened(page, f"{address}/attention?rank=20")
    for index, name in ((0, "attention-grid"), (1, "attention-head"), (2, "attention-heads")):
        with page.expect_download() as download:
            page.get_by_role("button", name="SVG").nth(index).click()
        assert download.value.suggested_filename == f"{name}.svg"
        with open(download.value.path(), encoding="utf-8") as file:
            text = file.read()
        assert text.startswith("<svg")
        assert "embedded-decoder" in text, "the provenance is on the slide"


def test_the_first_screen_holds_grid_and_head(address: str, page: Page) -> None:
    grid = opened(page, f"{address}/attention?rank=20")
    page.wait_for_timeout(1000)
    for one in (grid, large(page), page.locator(".js-plotly-plot .heatmaplayer").first):
        box = one.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 800
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_thinned_labels_say_so(address: str, page: Page) -> None:
    opened(page, f"{address}/attention?rank=20")
    assert "labelled" not in page.locator(".heads .label").first.inner_text()
    page.set_viewport_size({"width": 700, "height": 800})
    page.goto(f"{address}/attention?model=embedded-encoder&rank=20")
    page.locator(".heads .label").first.wait_for()
    page.locator(".heads").first.evaluate("""one => {
        const data = { title: "many", sprite: "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=",
            layers: 6, heads: 40, selected: [0, 0], height: 400, told: Array.from({ length: 6 }, () => Array(40).fill("")) };
        one.view.update(data, () => {});
    }""")
    expect(page.locator(".heads .label").first).to_contain_text("head → every 7th labelled")


@pytest.mark.slow
def test_a_long_prompt_does_not_kill_the_view(address: str, page: Page) -> None:
    if ENTRIES[SMOLLM2].source is None or fit(SMOLLM2).seconds > 10:
        pytest.skip("SmolLM2 is not converted on this machine")
    opened(page, f"{address}/attention?model={SMOLLM2}&bits=4&prompt_causal={quote(LONG)}")
    assert page.locator(".heads [role=gridcell]").count() == 270
    expect(page.get_by_text("were left out")).to_be_visible()
    page.get_by_role("gridcell", name="layer 20, head 3: entropy").click()
    expect(large(page)).to_contain_text("layer 20 head 3")
    held = page.evaluate("performance.memory.usedJSHeapSize")
    assert held < 400e6
