"""What a user does, in a real browser: open each page, move a slider, come back by link."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from scripts.browser import browser_required, find_browser

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync".split()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"REPARAM_CACHE": str(tmp_path_factory.mktemp("store"))}
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "app.py",
        "--server.port",
        str(port),
        "--server.headless",
        "true",
    ]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as server:
        _await(f"http://localhost:{port}/_stcore/health")
        yield f"http://localhost:{port}"
        server.terminate()


def _await(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)


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


@pytest.mark.parametrize("path", ["", "spectra", "attention"])
def test_every_page_opens_without_an_error_or_horizontal_scroll(address: str, page: Page, path: str) -> None:
    page.goto(f"{address}/{path}")
    page.wait_for_selector(".js-plotly-plot")
    assert page.locator("[data-testid=stException]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_slider_changes_the_sentence_and_the_address(address: str, page: Page) -> None:
    page.goto(address)
    page.wait_for_selector("text=takes 1.00× the bytes")
    slider = page.locator("[data-testid=stSlider] input").nth(2)
    slider.focus()
    for _ in range(5):
        slider.press("ArrowLeft")
    page.wait_for_selector("text=at 4 bits in groups of 64")
    assert "bits=4" in page.url
    again = page.context.new_page()
    again.goto(page.url)
    again.wait_for_selector("text=at 4 bits in groups of 64", timeout=120_000)


def test_a_click_on_a_point_loads_it_and_undo_takes_it_back(address: str, page: Page) -> None:
    page.goto(f"{address}/?bits=8")
    page.wait_for_selector("h4:has-text('at 8 bits')")
    page.wait_for_function("() => !document.body.innerText.toLowerCase().includes('estimate')")
    page.goto(address)
    page.wait_for_selector("text=takes 1.00× the bytes")
    points = page.locator(".js-plotly-plot").first.locator(".scatterlayer .points path.point")
    page.wait_for_function(
        "() => document.querySelectorAll('.js-plotly-plot .scatterlayer .points path.point').length > 1"
    )
    page.wait_for_timeout(1500)
    boxes = [box for box in (point.bounding_box() for point in points.all()) if box is not None]
    box = min(boxes, key=lambda one: one["x"])  # the smaller model stands further left
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("h4:has-text('bits in groups')", timeout=60_000)
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector("h4:has-text('untouched')")
    assert page.locator("h4").count() == 1


def test_a_chart_is_saved_as_svg_and_png(address: str, page: Page) -> None:
    page.goto(address)
    page.wait_for_selector(".js-plotly-plot")
    for name, start in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).first.click()
        assert Path(download.value.path()).read_bytes().startswith(start)
