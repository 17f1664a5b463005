"""Deleting what is stored: nothing goes without a second, clearly worded click."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st


def confirm_in_dialog(words: str, key: str, delete: Callable[[str], None], chosen: str) -> None:
    """Say what will go, in an open dialog, and delete it at the click.

    Parameters
    ----------
    words : str
        What is deleted and what stays, as Markdown.
    key : str
        Key of the button.
    delete : callable
        Called with `chosen`.
    chosen : str
        Identifier of what is deleted.
    """
    st.markdown(words)
    if st.button("Delete for good", type="primary", key=key, on_click=delete, args=(chosen,)):
        st.rerun()
