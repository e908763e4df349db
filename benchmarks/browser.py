"""What the hand on the slider waits for, in a real browser."""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

from benchmarks.timing import Row
from scripts.browser import find_browser

ROOT = Path(__file__).resolve().parents[1]
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync".split()
READ = "() => document.querySelector('h4')?.innerText ?? ''"


@contextmanager
def dashboard() -> Iterator[str]:
    """A server of its own with an empty store; its address."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
        with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"REPARAM_CACHE": folder}, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as server:  # fmt: skip
            _wait_for(f"http://localhost:{port}/_stcore/health")
            yield f"http://localhost:{port}"
            server.terminate()


def _wait_for(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)


def slider(runs: int) -> Iterator[Row]:
    """From the key that moves the slider to the sentence with a new figure, for new settings and for known ones."""
    with dashboard() as address, sync_playwright() as playwright:
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
    page.wait_for_selector("text=takes 1.00× the bytes")
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
    page.wait_for_function(f"before => ({READ})() !== before", arg=before)
    taken = time.perf_counter() - started
    _rest(page)
    return taken


def _rest(page: Page) -> None:
    """Until no figure is an estimate any more."""
    page.wait_for_function(f"() => ({READ})() && !({READ})().includes('estimate')", timeout=180_000)
    page.wait_for_timeout(500)
