"""Nobody sees a page of a server with users before it is known who that is."""

from __future__ import annotations

import streamlit as st

from app import keys
from app.components.errors import show_error
from app.components.text import plain
from app.users import SignInError, current_owner, identities_configured, login_configured


def admitted() -> bool:
    """Whether the page may be drawn; says why not, and offers to sign in."""
    try:
        owner = current_owner()
    except SignInError as error:
        _forget(None)
        show_error(error)
        if login_configured() and not st.user.get("is_logged_in"):
            st.button("Sign in", type="primary", on_click=st.login, key="sign-in")
        return False
    _forget(owner)
    if identities_configured():
        with st.sidebar:
            st.caption(f"Signed in as {plain(owner)}")
            if login_configured():
                st.button("Sign out", on_click=st.logout, key="sign-out")
    return True


def _forget(owner: str | None) -> None:
    """Drop what this session holds when it is not the same user's any more."""
    if st.session_state.get(keys.OWNER, owner) != owner:
        st.session_state.clear()
    st.session_state[keys.OWNER] = owner
