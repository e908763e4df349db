"""The browser of the browser tests: found on this machine, or installed where that is allowed (Debian, as root).

python -m scripts.browser          one line that says which one; with CI=true a missing one is a failure
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ELSEWHERE = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
PACKAGES = ("chromium", "fonts-dejavu-core", "fonts-liberation")
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
