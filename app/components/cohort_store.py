"""Cohorts in the database: keep, open, label."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import keys, services
from app.components.carried import carry
from app.components.text import count, local_time
from xpert_core.cohorts.records import Profiles


def keep_cohort(profiles: Profiles) -> str:
    """Store `profiles` and make them the cohort in use; return the cohort's id."""
    cohort_id = services.store().save_cohort(profiles)
    st.session_state[keys.COHORT_ID] = cohort_id
    _hold(cohort_id, profiles)
    return cohort_id


def open_cohort(cohort_id: str) -> Profiles:
    """A stored cohort, read only when it is not the one at hand; all its samples are chosen."""
    kept: tuple[str, Profiles] | None = st.session_state.get(keys.PROFILES)
    if kept is not None and kept[0] == cohort_id:
        return kept[1]
    profiles = services.store().load_cohort(cohort_id)
    _hold(cohort_id, profiles)
    return profiles


def choose_cohort() -> str | None:
    """Selector of a stored cohort; None when there is none."""
    labels = cohort_labels(services.store().cohorts())
    if not labels:
        st.info("No cohort is stored yet. Upload one first, or load the example on Home.")
        left, right, _ = st.columns([1, 1, 4])
        left.page_link("views/cohort.py", label="Upload a cohort", icon=":material/arrow_forward:")
        right.page_link("views/home.py", label="Load the example", icon=":material/arrow_forward:")
        return None
    if st.session_state.get(keys.COHORT_ID) not in labels:
        close_cohort()
    carry(keys.COHORT_ID)
    return st.selectbox(
        "Cohort",
        list(labels),
        format_func=labels.__getitem__,
        key=keys.COHORT_ID,
        persist_state="session",
    )


def _hold(cohort_id: str, profiles: Profiles) -> None:
    st.session_state[keys.PROFILES] = (cohort_id, profiles)
    st.session_state[keys.SAMPLES] = list(profiles.samples.index)


def close_cohort() -> None:
    """Forget the cohort in use."""
    for key in (keys.COHORT_ID, keys.PROFILES, keys.SAMPLES):
        st.session_state.pop(key, None)


def cohort_labels(cohorts: pd.DataFrame) -> dict[str, str]:
    """Name, size and date of each stored cohort, by id, as shown in a selector."""
    own = services.store().owner
    return {
        str(cohort_id): f"{row['name']} ({count(row['n_profiles'], 'sample')}, "
        f"stored {local_time(row['created_at'])}"
        + ("" if row["owner"] == own else f", shared by {row['owner']}")
        + ")"
        for cohort_id, row in cohorts.iterrows()
    }
