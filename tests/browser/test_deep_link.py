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
