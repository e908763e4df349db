"""Sensitivity in a real browser: a click on the map selects a matrix, the link brings it back, a recipe goes to Trade-offs."""

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser
CURVE = ".js-plotly-plot .gtitle:has-text('layers.5.mlp.down: estimates hollow')"
# Where a share of the map's width and height lies on the screen.
PLACE = """([across, down]) => {
    const plot = document.querySelector('.js-plotly-plot'), outer = plot.getBoundingClientRect(), size = plot._fullLayout._size;
    return [outer.x + size.l + across * size.w, outer.y + size.t + down * size.h];
}"""


def opened(page: Page, address: str) -> None:
    """The map of estimates with its proposals: cells are measured meanwhile."""
    page.goto(address)
    page.wait_for_selector("h4:has-text('costs most')")
    page.wait_for_selector(".js-plotly-plot .heatmaplayer image", state="attached")
    page.get_by_role("button", name="To Trade-offs").first.wait_for()


def test_a_matrix_is_picked_and_its_recipe_goes_to_trade_offs(address: str, page: Page) -> None:
    page.set_default_timeout(120_000)
    opened(page, f"{address}/sensitivity?bits=4&calibration_sequences=16&calibration_length=128")
    assert page.get_by_text("Not understood in the address").count() == 0
    title, control = (page.locator(one).bounding_box() for one in ("h1", "[data-testid=stButtonGroup]"))
    assert title is not None
    assert control is not None
    assert abs(title["y"] + title["height"] / 2 - control["y"] - control["height"] / 2) < 20, (
        "in one row with its first control"
    )
    page.mouse.move(*page.evaluate(PLACE, [0.93, 0.93]))
    page.wait_for_selector(".js-plotly-plot .hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(CURVE, state="attached")
    page.wait_for_url("**role=layers.5.mlp.down*")
    again = page.context.new_page()
    again.set_default_timeout(120_000)
    again.goto(page.url)
    again.wait_for_selector(CURVE, state="attached")
    again.close()
    page.locator("[class*=st-key-take-Protect]").get_by_role("button", name="To Trade-offs").click()
    page.wait_for_selector("h4:has-text('takes')")
    page.wait_for_url("**recipe=*")  # so that the link is of this setting
    page.get_by_text("A recipe from text is in force").wait_for()  # no slider says which matrices are protected
