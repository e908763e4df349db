"""Take the README's pictures again: python -m scripts.screenshots, or make screenshots."""

import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from scripts.browser import FLAGS, ROOT, dashboard, find_browser

FOLDER = ROOT / "docs" / "screenshots"
VIEWS = {
    "trade-offs": "?bits=4",
    "spectra": "spectra?role=layers.2.attention.v&cut=48",
    "attention": "attention?rank=20&layer=4&head=6",
}


def rest(page: Page) -> None:
    """Until nothing is asked, estimated or filled in any more."""
    page.wait_for_selector("h4")
    page.wait_for_function("() => !/estimate|Filling the curves|Measuring|timed once/.test(document.body.innerText)")
    page.wait_for_timeout(3000)


def main() -> None:
    """One picture a page, at the size of a small laptop's screen."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as store, dashboard(Path(store)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(300_000)
        for name, view in VIEWS.items():
            page.goto(f"{address}/{view}")
            rest(page)
            page.screenshot(path=FOLDER / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
