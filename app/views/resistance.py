"""Resistance genes: how two groups of patients differ before treatment, and under it."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import streamlit as st

from app import keys, services
from app.components.background_run import queue
from app.components.changes_mode import under_treatment
from app.components.cohort_store import choose_cohort, open_cohort
from app.components.errors import guarded, show_error
from app.components.group_choice import choose_groups, choose_thresholds, chosen_values
from app.components.resistance_view import resistance_view
from app.components.text import plain
from app.pace import in_words
from app.tasks import Task, launch, running, take, watch
from xpert_core.cohorts.records import Profiles
from xpert_core.errors import ExplanationError
from xpert_core.explanation.attention import KINDS, base_layer_names
from xpert_core.explanation.genes import MEANING
from xpert_core.explanation.genesets import COLLECTIONS
from xpert_core.explanation.groups import Groups
from xpert_core.explanation.resistance import (
    Material,
    Options,
    Resistance,
    collect,
    explain_resistance,
)
from xpert_core.prediction.predictor import Cancelled, Predictor, Progress

#: Seconds a profile takes in both networks, and the tests after that, on two processor cores.
PROFILE_S, TESTS_S = 0.4, 25.0
MEAN_OF_LAYERS = "mean of all layers"

Asked: TypeAlias = tuple[str, tuple[int, ...], str]
"""Cohort, its rows, and the hash of the model."""


def choose_options() -> Options:
    """Kind of attention, layer and thresholds."""
    layers = [MEAN_OF_LAYERS, *base_layer_names(services.predictor().model)]
    columns = st.columns([2, 2, 1, 1])
    kind = columns[0].selectbox(
        "Attention", KINDS, key=keys.RESISTANCE_KIND, help="; ".join(
            f"{name}: {meaning}" for name, meaning in MEANING.items()
        ),
    )  # fmt: skip
    layer = columns[1].selectbox(
        "Layer", layers, key=keys.RESISTANCE_LAYER, disabled=kind == "rollout",
        help="A rollout is always over all layers.",
    )  # fmt: skip
    thresholds = choose_thresholds(columns[2], columns[3], "Smallest |log2 ratio|")
    whole = layer == MEAN_OF_LAYERS or kind == "rollout"
    return Options(kind, None if whole else layer, thresholds, tuple(COLLECTIONS))


def order(cohort_id: str, profiles: Profiles) -> None:
    """Say what will be compared; start it at the click."""
    groups = choose_groups(profiles.samples)
    options = choose_options()
    if groups is not None:
        kept = _kept(cohort_id, groups)
        seconds = TESTS_S + (0 if kept else len(groups.rows) * PROFILE_S)
        st.markdown(plain(groups.sentence))
        st.caption(f"Expected time: {in_words(seconds)}.")
    busy = running(keys.RESISTANCE_TASK)
    if st.button("Compare", type="primary", disabled=busy or groups is None, key="compare"):
        assert groups is not None
        # Whose model it is, a thread of its own could not say.
        predictor, kept = services.predictor(), _kept(cohort_id, groups)
        work = partial(_work, predictor, profiles, groups, options, kept)
        st.session_state.pop(keys.RESISTANCE, None)
        st.session_state[keys.RESISTANCE_ASKED] = _asked(cohort_id, groups)
        launch(keys.RESISTANCE_TASK, Task(work, services.engine_lock()))
    if groups is not None and st.button(
        "Compare in the background",
        key="compare-later",
        help="You may close the page; tables, figures and words are kept with the job.",
    ):
        params = {
            "what": "resistance", "cohort_id": cohort_id, "column": groups.column,
            **chosen_values(groups.column), "kind": options.kind, "layer": options.layer,
            "q": options.thresholds.q, "lfc": options.thresholds.log2_ratio,
        }  # fmt: skip
        queue("explain", params, f"Resistance genes: {profiles.name}, {groups.column}")


def _asked(cohort_id: str, groups: Groups) -> Asked:
    return cohort_id, tuple(groups.rows), services.predictor().digest


def _kept(cohort_id: str, groups: Groups) -> Material | None:
    """Attention at hand from the last comparison of the same samples by the same model."""
    kept: tuple[Asked, Material] | None = st.session_state.get(keys.RESISTANCE_MATERIAL)
    same = kept is not None and kept[0] == _asked(cohort_id, groups)
    return kept[1] if kept is not None and same else None


def _work(
    predictor: Predictor,
    profiles: Profiles,
    groups: Groups,
    options: Options,
    kept: Material | None,
    progress: Progress,
    cancelled: Cancelled,
) -> tuple[Material, Resistance]:
    def first(done: int, total: int, text: str) -> None:
        progress(done, 2 * total, text)

    def second(done: int, total: int, text: str) -> None:
        progress(done if kept else total + done, total if kept else 2 * total, text)

    material = kept or collect(predictor, profiles, groups, progress=first, cancelled=cancelled)
    return material, explain_resistance(
        material, groups, options, progress=second, cancelled=cancelled
    )


def outcome(cohort_id: str) -> None:
    """The state of the last task: running, failed, cancelled or done."""
    if running(keys.RESISTANCE_TASK):
        watch(keys.RESISTANCE_TASK)
        return
    task = take(keys.RESISTANCE_TASK)
    asked: Asked | None = st.session_state.get(keys.RESISTANCE_ASKED)
    if task is not None and task.result is not None and asked is not None:
        material, found = task.result
        st.session_state[keys.RESISTANCE_MATERIAL] = (asked, material)
        st.session_state[keys.RESISTANCE] = found
    elif task is not None and task.cancelled:
        st.info("The comparison was cancelled. Nothing was stored.")
    elif task is not None and task.error is not None:
        show_error(task.error)
    found = st.session_state.get(keys.RESISTANCE)
    # A result of another cohort or model would look like an answer to the choices above.
    now = (cohort_id, services.predictor().digest)
    if found is not None and asked is not None and (asked[0], asked[2]) == now:
        resistance_view(found, st.session_state[keys.RESISTANCE_MATERIAL][1])


def before_treatment() -> None:
    """Attention and expression before treatment, by the model of this session."""
    services.predictor()
    st.markdown(
        "Genes that the network attends to differently in two groups of patients before treatment, "
        "beside genes whose expression differs, and beside what permuted labels and an untrained "
        "network show."
    )
    cohort_id = choose_cohort()
    if cohort_id is None:
        return
    profiles = open_cohort(cohort_id)
    try:
        order(cohort_id, profiles)
    except ExplanationError as error:
        show_error(error)
    outcome(cohort_id)


MODES = {
    "Before treatment": before_treatment,
    "Under treatment (before and after)": under_treatment,
}


def page() -> None:
    """Draw the page from top to bottom."""
    mode = st.segmented_control(
        "Samples", list(MODES), default=next(iter(MODES)), required=True, key=keys.RESISTANCE_MODE
    )
    MODES[mode]()


st.title("Resistance genes")
with guarded():
    page()
