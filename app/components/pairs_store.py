"""Paired cohorts in the database, as shown in a selector."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import keys
from app.components.carried import carry
from app.components.text import count, local_time


def pairs_labels(table: pd.DataFrame) -> dict[str, str]:
    """Name, size and date of each stored paired cohort, by id."""
    return {
        str(key): f"{row['name']} ({count(row['n_pairs'], 'pair')}, "
        f"stored {local_time(row['created_at'])})"
        for key, row in table.iterrows()
    }


def pairs_box(labels: dict[str, str]) -> str:
    """Selector of a stored paired cohort, the same on every page."""
    if st.session_state.get(keys.PAIRS_ID) not in labels:
        st.session_state.pop(keys.PAIRS_ID, None)
    carry(keys.PAIRS_ID)
    return st.selectbox(
        "Paired cohort",
        list(labels),
        format_func=labels.__getitem__,
        key=keys.PAIRS_ID,
        persist_state="session",
    )
