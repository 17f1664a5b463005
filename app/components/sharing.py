"""Sharing what is stored with the other users of a server; a single user sees nothing of it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from app.components.errors import guarded_callback
from app.components.text import plain
from app.users import identities_configured


def sharing(
    kind: str, entry_id: str, owner: str, *, shared: bool, own: bool, share: Callable[..., None]
) -> None:
    """A toggle at an own entry; at another's, whose it is.

    Parameters
    ----------
    kind : str
        ``"cohort"``, ``"result"``, ``"model"`` or ``"job"``.
    entry_id, owner : str
    shared : bool
        Whether it is shared now.
    own : bool
    share : callable
        Called with the id and the new state.
    """
    if not identities_configured():
        return
    if not own:
        st.caption(f"Shared by {plain(owner)}. Only its owner can change or delete it.")
        return
    key = f"share-{kind}-{entry_id}"
    st.session_state[key] = shared

    def change() -> None:
        with guarded_callback():
            share(entry_id, st.session_state[key])

    st.toggle(
        "Share with everyone on this server",
        key=key,
        on_change=change,
        help=HELP[kind],
    )


HELP = {
    "cohort": "All users see its samples, ids and values, and can predict from it.",
    "result": "All users see this result with its sample ids and drugs; the cohort stays yours.",
    "job": "All users see this job, its log and its scores, without ids of patients; cohort and "
    "model stay yours.",
    "model": "All users can look at this model, download it and predict with it.",
}


def shared_words(owner: str, *, shared: bool, own: bool) -> str:
    """How an entry is shared, for a table: ``"by NAME"``, ``"with everyone"`` or ``""``."""
    if own:
        return "with everyone" if shared else ""
    return f"by {owner}"
