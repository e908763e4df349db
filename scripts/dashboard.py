"""The server, which gets ready what the first page needs while its user still opens the browser.

python -m scripts.dashboard --server.port 8501      what follows are Streamlit's own options
"""

import sys
from importlib import import_module
from threading import Thread

from streamlit.web.cli import main as streamlit

import pages as pages  # tells Streamlit before it starts that app.py says which pages there are

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
    Thread(target=get_ready, daemon=True).start()
    sys.argv = ["streamlit", "run", "app.py", *sys.argv[1:]]
    streamlit()


if __name__ == "__main__":
    main()
