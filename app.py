"""Navigation and page configuration, nothing else."""

from pathlib import Path

import streamlit as st

st.set_page_config(page_title="Reparam Explorer", page_icon="◧", layout="wide")
st.html(Path(__file__).parent / "assets" / "styles" / "dashboard.css")
st.navigation(
    [
        st.Page("pages/trade_offs.py", title="Trade-offs", icon=":material/tune:", default=True),
        st.Page("pages/spectra.py", title="Spectra", icon=":material/show_chart:"),
        st.Page("pages/attention.py", title="Attention", icon=":material/grid_on:"),
    ]
).run()
