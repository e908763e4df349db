"""What the hand on the slider waits for, in a real browser."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

from benchmarks.timing import Row
from scripts.browser import FLAGS, dashboard, find_browser

# Of the setting itself, not that of the one before, in grey.
READ = """() => [...document.querySelectorAll('[class*="st-key-figures-"]')]
    .find(one => getComputedStyle(one).opacity === '1')?.querySelector('h4')?.innerText ?? ''"""


def slider(runs: int) -> Iterator[Row]:
    """From the key that moves the slider to the sentence with a new figure, for new settings and for known ones."""
    with tempfile.TemporaryDirectory() as store, dashboard(Path(store)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(180_000)
        for model, target in (("embedded-decoder", 0.5), ("smollm2-135m-instruct", 3.0)):
            new, known = _slide(page, f"{address}/?model={model}&bits=16", max(2, runs))
            yield Row(f"{model}: slider step to a new figure on screen", statistics.median(new), "s", target)
            yield Row(f"{model}: a setting seen before", statistics.median(known), "s", 0.3)
        browser.close()


def _slide(page: Page, address: str, runs: int) -> tuple[list[float], list[float]]:
    """Seconds of new settings, going down; of known ones, going up again."""
    page.goto(address)
    page.wait_for_selector("h4:has-text('untouched')")
    _rest(page)
    slider = page.locator("[data-testid=stSlider] input").nth(1)
    steps = min(runs, 8)
    new = [_timed(page, slider, "ArrowRight") for _ in range(steps)]
    known = [_timed(page, slider, "ArrowLeft") for _ in range(steps - 1)]
    return new, known


def _timed(page: Page, slider: Locator, key: str) -> float:
    """Until the sentence is another one; then until all is measured, so that going back finds it stored."""
    before = page.evaluate(READ)
    started = time.perf_counter()
    slider.press(key)
    page.wait_for_function(f"before => ({READ})() && ({READ})() !== before", arg=before)  # not merely gone grey
    taken = time.perf_counter() - started
    _rest(page)
    return taken


def _rest(page: Page) -> None:
    """Until no figure is an estimate any more."""
    page.wait_for_function(f"() => ({READ})() && !({READ})().includes('estimate')", timeout=180_000)
    page.wait_for_timeout(500)
