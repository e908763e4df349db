"""A dashboard with a store of its own, and a page of a real browser to look at it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from scripts.browser import FLAGS, browser_required, dashboard, find_browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dashboard(tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture
def page() -> Iterator[Page]:
    executable = find_browser()
    if executable is None:
        assert not browser_required(), "CI=true, but there is no Chromium or Chrome"
        pytest.skip("no Chromium or Chrome on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.set_default_timeout(240_000)
        yield page
        browser.close()
