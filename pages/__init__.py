"""One file a page."""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

# Until `st.navigation` has run once in a server, Streamlit takes every file of this folder for a page that stands alone:
# who came first by a link to one of them got it without app.py. So the first import sends the visitor there;
# scripts/dashboard.py imports this before there is a server.
alone, PagesManager.uses_pages_directory = PagesManager.uses_pages_directory, False
if alone:
    st.rerun()
