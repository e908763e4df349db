"""A link to a page works for whoever comes first: a fresh server knows nothing of app.py yet."""

import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_the_first_visitor_of_a_fresh_server_may_come_by_a_deep_link(address: str, page: Page) -> None:
    page.goto(f"{address}/attention?layer=2&head=3")
    page.wait_for_selector("h4")
    assert [one.inner_text() for one in page.locator("[data-testid=stSidebarNav] a").all()][-1].endswith("Attention")
    assert page.locator("[data-testid=stSidebarNav] a:has-text('Trade-offs')").count() == 1
    assert "layer=2" in page.url


@pytest.mark.parametrize("wait", [0, 200, 600])
def test_a_link_goes_along_to_the_page_one_changes_to_at_once(address: str, page: Page, wait: int) -> None:
    page.goto(f"{address}/?model=embedded-seq2seq&recipe=svd:r8")
    page.wait_for_selector("[data-testid=stSidebarNav] a:has-text('Spectra')")
    page.wait_for_timeout(wait)
    page.click("[data-testid=stSidebarNav] a:has-text('Spectra')")
    page.wait_for_selector("h4:has-text('encoder.layers.0.attention.q')")
    page.wait_for_url("**model=embedded-seq2seq*")
    assert "recipe=svd%3Ar8" in page.url
