"""What a user does, in a real browser: open each page, move a slider, come back by link."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, TimeoutError

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("path", ["", "spectra", "attention"])
def test_every_page_opens_without_an_error_or_horizontal_scroll(address: str, page: Page, path: str) -> None:
    page.goto(f"{address}/{path}")
    page.wait_for_selector("h4")
    page.wait_for_selector(".js-plotly-plot, .spectrum-cut svg")
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_slider_changes_the_sentence_and_the_address(address: str, page: Page) -> None:
    page.goto(address)
    page.wait_for_selector("h4:has-text('untouched')")
    slider = page.locator("[data-testid=stSlider] input").nth(2)
    slider.focus()
    for _ in range(5):
        slider.press("ArrowLeft")
    page.wait_for_selector("text=at 4 bits in groups of 64")
    assert "bits=4" in page.url
    again = page.context.new_page()
    again.goto(page.url)
    again.wait_for_selector("text=at 4 bits in groups of 64", timeout=120_000)


LEFTMOST = """() => {
    const points = document.querySelector('.js-plotly-plot').querySelectorAll('.scatterlayer .points path.point');
    const boxes = [...points].map(one => one.getBoundingClientRect()).sort((one, other) => one.x - other.x);
    return [boxes[0].x + boxes[0].width / 2, boxes[0].y + boxes[0].height / 2];
}"""  # where the smallest measured setting is drawn just now


def test_a_click_on_a_point_loads_it_and_undo_takes_it_back(address: str, page: Page) -> None:
    page.set_default_timeout(60_000)
    page.goto(f"{address}/?bits=8")
    page.wait_for_selector("h4:has-text('at 8 bits')")
    page.wait_for_function("() => !document.body.innerText.toLowerCase().includes('estimate')")
    page.goto(address)
    page.wait_for_selector("h4:has-text('untouched')")
    page.wait_for_function(
        "() => document.querySelectorAll('.js-plotly-plot .scatterlayer .points path.point').length > 1"
    )
    page.mouse.click(*page.evaluate(LEFTMOST))  # once, though the sweep draws the chart again meanwhile
    page.wait_for_selector("h4:has-text(' with ')")
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector("h4:has-text('untouched')")
    assert page.locator("h4").count() == 1
    assert page.get_by_role("button", name="Undo").is_disabled(), "one click is one step"


def test_a_chart_is_saved_as_svg_and_png_while_the_curves_fill(address: str, page: Page) -> None:
    page.set_default_timeout(60_000)
    page.goto(f"{address}/?sparsity=30")  # a recipe of its own: its sweep has just begun
    page.wait_for_selector(".js-plotly-plot")
    lost = 0  # one may be: the first figure of the other chart lays the whole page out anew
    for _ in range(5):
        for name, start in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
            try:
                with page.expect_download(timeout=30_000) as download:
                    page.get_by_role("button", name=name).first.click()
            except TimeoutError:
                lost += 1
                continue
            assert Path(download.value.path()).read_bytes().startswith(start)
    assert lost <= 1
