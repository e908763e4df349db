"""A download outlives the redraws of the page that asked for it."""

import plotly.graph_objects as go
import pytest
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage

from pages.components import charts


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> MediaFileManager:
    """A running server's files."""

    class Server:
        media_file_mgr = MediaFileManager(MemoryMediaFileStorage("/media"))

    monkeypatch.setattr(charts.runtime, "exists", lambda: True)
    monkeypatch.setattr(charts.runtime, "get_instance", Server)
    monkeypatch.setattr(charts, "rendered", lambda *_: b"<svg/>")
    return Server.media_file_mgr


def saved(files: MediaFileManager, name: str) -> str:
    """Ask for a slide as the browser does: the id of the file to fetch."""
    make = charts._slide(go.Figure, "svg", "", f"{name}.svg")
    asked = files.add_deferred(make, "image/svg+xml", "a button", f"{name}.svg")
    return files.execute_deferred(asked).rpartition("/")[2].partition(".")[0]


def test_a_slide_is_there_however_often_the_page_is_drawn_before_it_is_fetched(files: MediaFileManager) -> None:
    found = saved(files, "chart")
    for _ in range(3):
        files.remove_orphaned_files()
    assert files.read_file(found) is not None


def test_only_the_latest_slides_are_held(files: MediaFileManager) -> None:
    first, *_ = [saved(files, f"chart-{index}") for index in range(charts.HELD + 1)]
    for _ in range(3):
        files.remove_orphaned_files()
    assert files.read_file(first) is None
