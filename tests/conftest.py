"""The engine first: it says how torch's threads wait, which torch reads once."""

from reparam_core import threads as threads

# isort: split
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from reparam_core import store

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


@pytest.fixture
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store in which nothing was measured or prepared before."""
    monkeypatch.setenv("REPARAM_CACHE", str(tmp_path / "cache"))
    store.reopen()
    yield
    store.reopen()
