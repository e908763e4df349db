"""Threads first, which torch reads once: side by side each process has one, alone it has the engine's."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes of two threads each wait for each other longer than they work
    os.environ.setdefault("OMP_NUM_THREADS", "1")

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
