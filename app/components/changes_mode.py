"""Changes under treatment in two groups, on the page Resistance genes: choices, task, result."""

from __future__ import annotations

import threading
from functools import partial

import streamlit as st

from app import keys, services
from app.components.changes_view import changes_view
from app.components.errors import show_error
from app.components.group_choice import choose_groups, choose_thresholds
from app.components.pairs_store import pairs_box, pairs_labels
from app.components.text import plain
from app.tasks import Task, launch, running, take, watch
from xpert_core.cohorts import PairedProfiles, require_sound
from xpert_core.errors import CohortError, ExplanationError
from xpert_core.explanation.changes import GroupChanges, compare_changes
from xpert_core.explanation.differential import Thresholds
from xpert_core.explanation.groups import Groups
from xpert_core.prediction.predictor import Cancelled, Progress

SCOPE = "-changes"


def under_treatment() -> None:
    """Choose pairs and groups, compare in a thread, show the result."""
    st.markdown(
        "Genes whose measured expression changes between the sample before and the sample after "
        "treatment, in two groups of patients, and genes that change differently in the two. "
        "Pairs are compared within each patient; no model takes part."
    )
    pairs_id = _choose_pairs()
    if pairs_id is None:
        return
    pairs = services.store().pairs.load(pairs_id)
    try:
        require_sound(pairs)
        _order(pairs_id, pairs)
    except (CohortError, ExplanationError) as error:
        show_error(error)
    _outcome(pairs_id)


def _choose_pairs() -> str | None:
    labels = pairs_labels(services.store().pairs.list())
    if not labels:
        st.info(
            "No paired cohort is stored yet. Upload one on the Fine-tune page, or load the example "
            "there, and choose Use these pairs."
        )
        st.page_link("views/finetune.py", label="Fine-tune", icon=":material/arrow_forward:")
        return None
    return pairs_box(labels)


def _order(pairs_id: str, pairs: PairedProfiles) -> None:
    """Say what will be compared; start it at the click."""
    groups = choose_groups(pairs.pairs, SCOPE)
    left, right, _ = st.columns([1, 1, 2])
    thresholds = choose_thresholds(left, right, f"Smallest |change| ({pairs.unit})", SCOPE)
    if groups is not None:
        st.markdown(plain(groups.sentence))
    busy = running(keys.CHANGES_TASK)
    if st.button("Compare", type="primary", disabled=busy or groups is None, key="compare-changes"):
        assert groups is not None
        work = partial(_work, pairs, groups, thresholds)
        st.session_state.pop(keys.CHANGES, None)
        st.session_state[keys.CHANGES_ASKED] = pairs_id
        # No model computes, so there is nothing to wait for.
        launch(keys.CHANGES_TASK, Task(work, threading.Lock()))


def _work(
    pairs: PairedProfiles,
    groups: Groups,
    thresholds: Thresholds,
    progress: Progress,
    cancelled: Cancelled,
) -> GroupChanges:
    return compare_changes(pairs, groups, thresholds, progress=progress, cancelled=cancelled)


def _outcome(pairs_id: str) -> None:
    """The state of the last task: running, failed, cancelled or done."""
    if running(keys.CHANGES_TASK):
        watch(keys.CHANGES_TASK)
        return
    task = take(keys.CHANGES_TASK)
    if task is not None and task.result is not None:
        st.session_state[keys.CHANGES] = task.result
    elif task is not None and task.cancelled:
        st.info("The comparison was cancelled. Nothing was stored.")
    elif task is not None and task.error is not None:
        show_error(task.error)
    found: GroupChanges | None = st.session_state.get(keys.CHANGES)
    # A result of other pairs would look like an answer to the choices above.
    if found is not None and st.session_state.get(keys.CHANGES_ASKED) == pairs_id:
        changes_view(found)
