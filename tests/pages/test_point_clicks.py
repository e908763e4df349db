"""A click on a point is told once, however often the page runs before the browser forgets it."""

from typing import Any

import pytest
import streamlit as st

from pages.components.point_clicks import KEY, clicked


def test_a_click_is_told_once_and_the_next_one_on_the_same_point_again(monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, Any] = {}
    monkeypatch.setattr(st, "session_state", state)
    assert clicked() is None
    state[KEY] = {"clicked": {"recipe": "base", "time": 1}}
    assert (clicked(), clicked()) == ("base", None)
    state[KEY] = {"clicked": {"recipe": "base", "time": 2}}
    assert clicked() == "base"
