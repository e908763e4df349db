"""A page run without a browser, on the embedded decoder, with a store of its own."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from reparam_core.jobs import exploring
from reparam_core.measure import tasks
from reparam_core.recipes import Recipe

PAGES = Path(__file__).resolve().parents[2] / "pages"
Open = Callable[..., AppTest]
SWEPT = Recipe.parse("rtn:8g64").canonical  # all that a page sweeps by itself
# Every AppTest looks through all installed packages for components, which takes longer than most pages; one look is enough.
manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)


@pytest.fixture(autouse=True)
def few_tokens(own_store: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Results of other tests are not found here; a few tokens are enough for the logic of a page."""
    monkeypatch.setattr(exploring, "SEQUENCES", {True: 2, False: 2})
    monkeypatch.setattr(
        "reparam_core.search.curve_recipes", lambda *_: [SWEPT]
    )  # where the page's script takes it from
    few = {objective: dict.fromkeys(counts, 48) for objective, counts in tasks.TASKS.items()}
    monkeypatch.setattr(tasks, "TASKS", few)
    exploring._asked.clear()
    yield
    exploring._asked.clear()


@pytest.fixture
def opened() -> Open:
    """Open a page with these query parameters and let it run until nothing is pending."""

    def run(name: str, **parameters: str) -> AppTest:
        page = AppTest.from_file(str(PAGES / f"{name}.py"), default_timeout=120)
        for key, value in parameters.items():
            page.query_params[key] = value
        return settled(page.run())

    return run


def settled(page: AppTest) -> AppTest:
    """Wait for the jobs that this page asks for, and draw it again: `run_every` does not run here."""
    for _ in range(5):
        asked = page.session_state["asked"].values() if "asked" in page.session_state else ()
        waiting = [ticket for _wanted, ticket in asked if ticket.pending]
        for ticket in waiting:
            assert ticket.wait(120), f"the job '{ticket.name}' does not end"
        page = page.run()
        if not waiting:
            break
    return page


def sentence(page: AppTest) -> str:
    """The page's one sentence."""
    return next(one.value for one in page.markdown if one.value.startswith("####"))


def titles(page: AppTest) -> list[str]:
    """Of the charts, in the order of the page."""
    specs = [json.loads(one.proto.spec) for one in page.get("plotly_chart")]
    return [one["layout"]["title"]["text"].replace("<br>", " ") for one in specs]


def control(kind: Any, key: str) -> Any:
    """The control of that key among those of a kind."""
    return next(one for one in kind if one.key == key)


def told(page: AppTest) -> str:
    """What stands in words."""
    return " ".join(one.value for one in [*page.markdown, *page.caption])
