"""A page run without a browser, on the embedded decoder, with a store of its own."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from reparam_core.jobs import exploring
from reparam_core.measure import tasks
from reparam_core.measure.latency import latency_steps
from reparam_core.recipes import Recipe

PAGES = Path(__file__).resolve().parents[2] / "pages"
Open = Callable[..., AppTest]
LATER = ("details", "text", "sweep")  # jobs that come after the figures
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
    few = {
        objective: dict.fromkeys(counts, 8 if objective == "causal" else 48)
        for objective, counts in tasks.TASKS.items()
    }
    monkeypatch.setattr(tasks, "TASKS", few)
    monkeypatch.setattr(exploring, "latency_steps", partial(latency_steps, runs=3, decode=2))
    exploring._asked.clear()
    yield
    exploring._asked.clear()


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open a page with these query parameters and let it run until its figures are there."""
    pages: list[AppTest] = []

    def run(name: str, **parameters: str) -> AppTest:
        page = AppTest.from_file(str(PAGES / f"{name}.py"), default_timeout=120)
        pages.append(page)
        for key, value in parameters.items():
            page.query_params[key] = value
        return settled(page.run())

    yield run
    left = [ticket for page in pages for _, ticket in asked_by(page)]
    for ticket in left:
        ticket.cancel()
    for ticket in left:
        ticket.wait(120)


def asked_by(page: AppTest) -> list[tuple[str, Any]]:
    """The page's jobs by name."""
    if "asked" not in page.session_state:
        return []
    return [(name, ticket) for name, (_wanted, ticket) in page.session_state["asked"].items()]


def settled(page: AppTest, but: Sequence[str] = LATER) -> AppTest:
    """Wait for the jobs that this page asks for but for these, and draw it again: `run_every` does not run here."""
    for _ in range(5):
        waiting = [ticket for name, ticket in asked_by(page) if ticket.pending and name not in but]
        for ticket in waiting:
            assert ticket.wait(120), f"the job '{ticket.name}' does not end"
        page = page.run()
        if not waiting:
            break
    return page


def whole(page: AppTest) -> AppTest:
    """With everything that comes after the figures."""
    return settled(page, but=())


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
