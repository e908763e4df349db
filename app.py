"""Navigation, page configuration and the link by which one came, nothing else."""

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage


def _run(page: StreamlitPage) -> None:
    """The page, and meanwhile nothing in the background."""
    from pages.components.live import only_what_is_asked_now  # not before the menu is there: torch takes seconds
    from reparam_core.jobs import evaluator

    with evaluator().drawing(), only_what_is_asked_now():
        page.run()


# First of all: who leaves the first page before it has run takes along what the link says.
st.session_state.setdefault("address", {key: st.query_params.get_all(key) for key in st.query_params})
st.set_page_config(page_title="Reparam Explorer", page_icon="◧", layout="wide")
st.html(Path(__file__).parent / "assets" / "styles" / "dashboard.css")
page = st.navigation(
    [
        st.Page("pages/trade_offs.py", title="Trade-offs", icon=":material/tune:", default=True),
        st.Page("pages/spectra.py", title="Spectra", icon=":material/show_chart:"),
        st.Page("pages/sensitivity.py", title="Sensitivity", icon=":material/grid_view:"),
        st.Page("pages/attention.py", title="Attention", icon=":material/grid_on:"),
    ]
)
_run(page)
