"""The embedded decoder on a few tokens, with a store of its own."""

from collections.abc import Iterator

import pytest

from reparam_core.jobs import exploring
from reparam_core.models import Model, load


@pytest.fixture
def few_tokens(own_store: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Results of other tests are not found here; a few sequences are enough for the logic of a job."""
    monkeypatch.setattr(exploring, "SEQUENCES", {True: 5, False: 5})
    exploring._asked.clear()
    yield
    exploring._asked.clear()


@pytest.fixture
def model() -> Model:
    return load("embedded-decoder")
