"""Predict: choose patients, drugs, doses and times; watch; look at the result."""

from __future__ import annotations

import streamlit as st

from app import keys, services
from app.background import PredictionTask, Request
from app.components.background_run import background_button
from app.components.cohort_store import choose_cohort, open_cohort
from app.components.drug_picker import drug_picker
from app.components.errors import guarded, show_error
from app.components.result_view import result_view
from app.components.text import count, plain
from app.pace import Pace, in_words
from xpert_core.conditions import (
    DEFAULT_DOSE,
    DEFAULT_TIME,
    format_dose,
    parse_dose,
    parse_time,
    split_values,
)
from xpert_core.drugs.records import Drug
from xpert_core.prediction import Prediction

#: A bigger request would fill the memory of a small machine.
MAX_PREDICTIONS = 20_000
#: A task that ends within this time needs no progress bar.
PATIENCE_S = 1.5


def choose_model() -> None:
    """Selector of the model, where there are several that predict."""
    registry = services.store().registry
    models = {model.id: model for model in registry.list() if not model.why_not_predict}
    if len(models) < 2:
        st.session_state.pop(keys.MODEL, None)
        return
    default = registry.default().id
    if st.session_state.get(keys.MODEL) not in models:
        st.session_state[keys.MODEL] = default if default in models else next(iter(models))

    def label(key: str) -> str:
        words = [models[key].kind] + (["default"] if key == default else [])
        return f"{models[key].name} ({', '.join(words)})"

    chosen = st.selectbox(
        "Model", list(models), format_func=label, key=keys.MODEL, persist_state="session"
    )
    if reason := models[chosen].why_not_default:
        st.warning(f"Take its predictions with care: {plain(reason)}.")


def choose_samples(options: list[str]) -> tuple[str, ...]:
    """Selector of samples; its list opens with "Select all", its cross clears it."""
    chosen = st.multiselect(
        "Samples",
        options,
        key=keys.SAMPLES,
        persist_state="session",
        placeholder="Choose samples",
        help="The cross clears the choice; the open list begins with Select all.",
    )
    st.caption(f"{len(chosen):,} of {count(len(options), 'sample')} chosen.")
    return tuple(chosen)


def choose_conditions(drugs: list[Drug]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Text fields of doses and times, checked as they are typed."""
    st.session_state.setdefault(keys.DOSES, DEFAULT_DOSE)
    st.session_state.setdefault(keys.TIMES, DEFAULT_TIME)
    left, right = st.columns(2)
    dose_text = left.text_input(
        "Doses",
        key=keys.DOSES,
        persist_state="session",
        help="Several with commas, such as 0.1, 1, 10 uM. Units: nM, uM, mM, ng/mL.",
    )
    time_text = right.text_input(
        "Times of exposure",
        key=keys.TIMES,
        persist_state="session",
        help="Several with commas, such as 6, 24 h. Units: min, h, d.",
    )
    masses: list[float | None] = [drug.molar_mass for drug in drugs] or [None]
    # Equal values written differently (1 uM, 1000 nM) are one dose.
    doses = {
        tuple(parse_dose(text, mass) for mass in masses): text for text in split_values(dose_text)
    }
    times = {parse_time(text): text for text in split_values(time_text)}
    return tuple(doses.values()), tuple(times.values())


def listed(values: tuple[str, ...], noun: str) -> str:
    """A count with the values, as far as they are few: ``"2 doses (1 uM, 10 uM)"``."""
    shown = ", ".join(values[:6]) + (", …" if len(values) > 6 else "")
    return f"{count(len(values), noun)} ({plain(shown)})"


def is_busy() -> bool:
    """Whether a prediction of this session is running."""
    task: PredictionTask | None = st.session_state.get(keys.TASK)
    return task is not None and task.running


def order(request: Request) -> None:
    """Say what will be computed and how long it takes; start it at the click."""
    pace = services.pace()
    missing = [
        name
        for name, values in (
            ("samples", request.samples),
            ("drugs", request.drugs),
            ("doses", request.doses),
            ("times", request.times),
        )
        if not values
    ]
    if missing:
        st.info(f"Still to choose: {', '.join(missing)}.")
    elif request.size > MAX_PREDICTIONS:
        st.error(
            f"This would be {request.size:,} predictions; at most {MAX_PREDICTIONS:,} can be "
            "made at once. Choose fewer samples, drugs, doses or times."
        )
    else:
        st.markdown(
            f"**{count(request.size, 'prediction')}**: {count(len(request.samples), 'sample')} × "
            f"{count(len(request.drugs), 'drug')} × {listed(request.doses, 'dose')} × "
            f"{listed(request.times, 'time')}. "
            f"Expected time: {in_words(pace.estimate(request.size, len(request.drugs)))}."
        )
    impossible = bool(missing) or request.size > MAX_PREDICTIONS or is_busy()
    if st.button("Predict", type="primary", disabled=impossible, key="predict"):
        task = PredictionTask(
            request, services.predictor(), services.store(), services.engine_lock()
        )
        st.session_state[keys.TASK] = task
        task.start()
        with st.spinner("Predicting"):
            over = task.wait(PATIENCE_S)
        if not over:
            st.rerun()  # draws the button disabled
    background_button(request, disabled=bool(missing) or request.size > MAX_PREDICTIONS)


@st.fragment(run_every=0.5)
def watch() -> None:
    """Progress of the running task, with a way to stop it."""
    task: PredictionTask = st.session_state[keys.TASK]
    if not task.running:
        st.rerun()
    share = task.done / task.total if task.total else 0.0
    stage = "Stopping" if task.cancelled else task.stage
    st.progress(min(share, 1.0), plain(stage))
    st.button("Cancel", on_click=task.cancel, disabled=task.cancelled, key="cancel")


def outcome(cohort_id: str) -> None:
    """The state of the last task: running, failed, cancelled or done."""
    task: PredictionTask | None = st.session_state.get(keys.TASK)
    if is_busy():
        watch()
        return
    if task is not None:
        del st.session_state[keys.TASK]
        finish(task, services.pace())
    result = st.session_state.get(keys.RESULT)
    # A result opened on another page, or of another cohort, would look like an answer to the
    # choices above.
    if result is not None and st.session_state.get(keys.PREDICTED) == (cohort_id, result[0]):
        run_id, prediction = result
        st.subheader("Result of the last prediction")
        st.markdown(f"{asked_for(prediction)} It is stored on this machine.")
        st.page_link(
            "views/results.py",
            label="Open it at its own address",
            icon=":material/link:",
            query_params={keys.RUN: run_id},
        )
        result_view(prediction, run_id)


def asked_for(prediction: Prediction) -> str:
    """Drugs, doses and times of a result, which the choices above may no longer be."""
    rows = prediction.rows
    drugs = tuple(rows["drug"].unique())
    doses = tuple(format_dose(float(dose)) for dose in rows["dose_um"].unique())
    times = tuple(f"{float(time):g} h" for time in rows["time_h"].unique())
    parts = (listed(drugs, "drug"), listed(doses, "dose"), listed(times, "time"))
    return f"For {count(rows['sample_id'].nunique(), 'sample')}: {'; '.join(parts)}."


def finish(task: PredictionTask, pace: Pace) -> None:
    """Take over what a task left behind."""
    if task.result is not None:
        pace.learn(task.request.size, task.seconds)
        st.session_state[keys.RESULT] = (task.run_id, task.result)
        st.session_state[keys.PREDICTED] = (task.request.cohort_id, task.run_id)
    elif task.cancelled:
        st.session_state.pop(keys.RESULT, None)
        st.info("The prediction was cancelled. Nothing was stored.")
    elif task.error is not None:
        st.session_state.pop(keys.RESULT, None)
        show_error(task.error)


def page() -> None:
    """Draw the page from top to bottom."""
    cohort_id = choose_cohort()
    if cohort_id is None:
        return
    choose_model()
    services.predictor()
    profiles = open_cohort(cohort_id)
    samples = choose_samples(list(profiles.samples.index))
    drugs = drug_picker()
    services.prepare(drugs)
    with guarded():
        doses, times = choose_conditions(drugs)
        order(Request(cohort_id, profiles.name, profiles, samples, tuple(drugs), doses, times))
    outcome(cohort_id)


st.title("Predict")
with guarded():
    page()
