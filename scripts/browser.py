"""The browser of tests, benchmarks and screenshots, and a dashboard for it to look at.

The browser is found on this machine, or installed where that is allowed (Debian, as root).

python -m scripts.browser          one line that says which one; with CI=true a missing one is a failure
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ELSEWHERE = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
PACKAGES = ("chromium", "fonts-dejavu-core", "fonts-liberation")
FLAGS = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
         "--disable-background-networking --disable-component-update").split()  # fmt: skip
ROOT = Path(__file__).resolve().parents[1]
SKIPPED = "No Chromium or Chrome on this machine: the browser tests are skipped; name one with BROWSER_PATH=..."


def find_browser(environment: Mapping[str, str] = os.environ) -> str | None:
    """The executable that BROWSER_PATH names, else the first Chromium or Chrome of this machine."""
    if named := environment.get("BROWSER_PATH"):
        return shutil.which(named)
    on_path = (shutil.which(name, path=environment.get("PATH")) for name in NAMES)
    return next((path for path in (*on_path, *filter(os.path.exists, ELSEWHERE)) if path), None)


def browser_required(environment: Mapping[str, str] = os.environ) -> bool:
    """In continuous integration nothing may be skipped in silence."""
    return environment.get("CI", "").lower() in ("true", "1")


def may_install() -> bool:
    """Debian and its descendants keep this file; only root may add packages."""
    return Path("/etc/debian_version").exists() and getattr(os, "geteuid", lambda: 1)() == 0


def install_browser() -> bool:
    """Debian's own Chromium, by its package manager."""
    print(f"Installing {PACKAGES[0]} for the browser tests ...", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    commands = (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES],
    )
    return all(
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode == 0 for command in commands
    )


@contextmanager
def dashboard(cache: Path) -> Iterator[str]:
    """A server on a free port with its results in that folder; its address."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "scripts.dashboard", "--server.port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"REPARAM_CACHE": str(cache)},
                          stdout=subprocess.DEVNULL) as server:  # fmt: skip
        try:
            _await(f"http://localhost:{port}/_stcore/health")
            yield f"http://localhost:{port}"
        finally:
            server.terminate()


def _await(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)


def main() -> int:
    browser = find_browser()
    if browser is None and may_install() and install_browser():
        browser = find_browser()
    if browser is None:
        print(SKIPPED if not browser_required() else "CI=true, but there is no Chromium or Chrome on this machine.")
        return int(browser_required())
    print(f"Browser tests use {browser}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
