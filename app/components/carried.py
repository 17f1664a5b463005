"""Choices that go along from page to page."""

from __future__ import annotations

import streamlit as st


def carry(*names: str) -> None:
    """Let the widgets of these keys, drawn next, begin with what was chosen on another page.

    To Streamlit, widgets of one key on two pages are two widgets: the second would begin empty
    and overwrite the choice. A value set by the script holds for whichever widget comes next.
    """
    for name in names:
        if name in st.session_state:
            st.session_state[name] = st.session_state[name]
