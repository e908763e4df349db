"""The server, which gets ready what the first page needs while its user still opens the browser.

python -m scripts.dashboard --server.port 8501      what follows are Streamlit's own options
"""

import sys
from importlib import import_module
from threading import Thread

from streamlit.runtime.pages_manager import PagesManager
from streamlit.web.cli import main as streamlit

FIRST, SCORED_ON = "embedded-decoder", ("addresses", "moby-dick")  # the landing page's


def get_ready() -> None:
    """The libraries, most of which a page imports, then the first model and what it is scored on: seconds each."""
    for name in ("controls", "panels"):
        import_module(f"pages.components.{name}")
    from reparam_core.jobs.exploring import asked_of
    from reparam_core.models import load

    for source in SCORED_ON:
        asked_of(load(FIRST), source)


def main() -> None:
    """Streamlit's command line on app.py, in the main thread, where signals come."""
    PagesManager.uses_pages_directory = False  # else a fresh server takes each file of pages/ for a page by itself
    Thread(target=get_ready, daemon=True).start()
    sys.argv = ["streamlit", "run", "app.py", *sys.argv[1:]]
    streamlit()


if __name__ == "__main__":
    main()
