"""A dashboard with a store of its own, and a page of a real browser to look at it."""

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

ROOT = Path(__file__).resolve().parents[2]
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync".split()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"REPARAM_CACHE": str(tmp_path_factory.mktemp("store"))}
    options = ["--server.port", str(port), "--server.headless", "true"]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", *options]
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
