"""Dose and time: how the predicted change of a drug follows them, beside what was measured."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import keys, services
from app.components.cohort_store import choose_cohort, open_cohort
from app.components.dose_view import Asked, dose_view
from app.components.errors import guarded, show_notice
from app.components.text import count
from app.components.working import finished, start_button
from app.pace import in_words
from xpert_core.cohorts.records import Profiles
from xpert_core.conditions import parse_dose, parse_time, split_values
from xpert_core.drugs.records import Drug
from xpert_core.explanation.measured import Wells, dose_series, drug_of, series
from xpert_core.explanation.training_conditions import conditions_of
from xpert_core.prediction import Prediction

NAME = "dose-time"
COHORT, MEASURED = "A stored cohort", "A375 cells, where doses were measured"
#: Doses of the L1000 series and its times, with one on either side.
DOSES, TIMES = "0.04, 0.12, 0.37, 1.11, 3.33, 10 uM", "3, 6, 12, 24 h"
EXAMPLES = ("trametinib", "vorinostat", "torin-2", "gefitinib")
MAX_PREDICTIONS = 20_000


def ask_cohort() -> tuple[Profiles, tuple[str, ...], Drug] | None:
    """Cohort, samples and drug."""
    cohort_id = choose_cohort()
    if cohort_id is None:
        return None
    profiles = open_cohort(cohort_id)
    samples = st.multiselect(
        "Samples", list(profiles.samples.index), key=keys.DOSE_SAMPLES, persist_state="session",
        placeholder="All samples", help="None chosen means all of them.",
    )  # fmt: skip

    def take_example() -> None:
        st.session_state[keys.DOSE_DRUG] = st.session_state[keys.DOSE_EXAMPLE]
        st.session_state[keys.DOSE_EXAMPLE] = None

    text = st.text_input(
        "Drug name, identifier, InChIKey or SMILES", key=keys.DOSE_DRUG, persist_state="session",
        placeholder="for example trametinib",
    ).strip()  # fmt: skip
    st.pills(
        "Examples", EXAMPLES, key=keys.DOSE_EXAMPLE, on_change=take_example,
        label_visibility="collapsed",
    )  # fmt: skip
    if not text:
        st.info("Still to choose: a drug.")
        return None
    drug = services.library().resolve(text)
    return profiles, tuple(samples or profiles.samples.index), drug


def ask_series() -> Wells:
    """A drug with a measured dose series."""
    table = series().query("cell == 'A375' and time_h == 24")
    about = dict(zip(table["drug"], table["moa"], strict=True))
    names = list(about)
    st.session_state.setdefault(keys.DOSE_SERIES, "trametinib")
    drug = st.selectbox(
        "Drug with a measured dose series (A375 melanoma cells, 24 h, L1000 level 3)",
        names,
        key=keys.DOSE_SERIES,
        persist_state="session",
        format_func=lambda name: f"{name} ({about[name]})" if about[name] else name,
    )
    return dose_series(drug)


def trained_times() -> str:
    """At which times the model in use was trained; "" where that is not known."""
    conditions = conditions_of(services.predictor().digest)
    if conditions is None:
        return ""
    times = " and ".join(f"{time:g}" for time in sorted(set(conditions.trained()["time_h"])))
    return f"On the scale of these predictions this model was trained at {times} h only."


def ask_conditions(drug: Drug) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Doses and times, in uM and hours."""
    st.session_state.setdefault(keys.DOSE_DOSES, DOSES)
    st.session_state.setdefault(keys.DOSE_TIMES, TIMES)
    left, right = st.columns(2)
    doses = left.text_input(
        "Doses", key=keys.DOSE_DOSES, persist_state="session",
        help="Several with commas. The default doses are those of the L1000 dose series.",
    )  # fmt: skip
    times = right.text_input(
        "Times of exposure", key=keys.DOSE_TIMES, persist_state="session",
        help=f"Several with commas. {trained_times()}".strip(),
    )  # fmt: skip
    mass = drug.molar_mass
    return (
        tuple(sorted({parse_dose(text, mass) for text in split_values(doses)})),
        tuple(sorted({parse_time(text) for text in split_values(times)})),
    )


def ask() -> Asked | None:
    """Everything that the predictions depend on."""
    source = st.radio(
        "Profiles", [MEASURED, COHORT], key=keys.DOSE_SOURCE, persist_state="session",
        horizontal=True,
    )  # fmt: skip
    model = services.predictor().digest
    if source == COHORT:
        found = ask_cohort()
        if found is None:
            return None
        doses, times = ask_conditions(found[2])
        return Asked(*found, doses, times, None, model)
    wells = ask_series()
    with st.spinner("Reading the structure"):
        drug = drug_of(wells)
    doses, times = ask_conditions(drug)
    measured = {float(dose) for dose in wells.rows["dose_um"].unique()}
    samples = tuple(sorted(wells.rows["control"].unique()))
    own_time = float(wells.rows["time_h"].iloc[0])
    return Asked(
        wells.controls, samples, drug, tuple(sorted({*doses, *measured})),
        tuple(sorted({*times, own_time})), wells, model,
    )  # fmt: skip


def order(asked: Asked | None) -> None:
    """Say what will be computed and start it at the click."""
    job = None
    if asked is not None and not (asked.doses and asked.times):
        st.info("Still to choose: doses and times.")
    elif asked is not None and asked.size > MAX_PREDICTIONS:
        st.error(f"This would be {asked.size:,} predictions; at most {MAX_PREDICTIONS:,} at once.")
    elif asked is not None:
        seconds = services.pace().estimate(asked.size, 1)
        st.markdown(
            f"**{count(asked.size, 'prediction')}**: {count(len(asked.samples), 'sample')} × "
            f"{count(len(asked.doses), 'dose')} × {count(len(asked.times), 'time')}. "
            f"Expected time: {in_words(seconds)}."
        )
        predictor, request = services.predictor(), asked

        def job(progress: Any, cancelled: Any) -> tuple[Asked, Prediction]:
            return request, predictor.predict(
                request.profiles, [request.drug], request.doses, request.times,
                samples=request.samples, progress=progress, cancelled=cancelled,
            )  # fmt: skip

    start_button("Predict over dose and time", NAME, job, asked.key if asked else None)


st.title("Dose and time")
st.markdown(
    "How the predicted change of each gene follows the dose and the time of exposure, where the "
    "model has training data, and what was measured."
)
show_notice()
with guarded():
    services.predictor()
    asked_now = None
    with guarded():
        asked_now = ask()
    order(asked_now)
    kept = finished(NAME)
    if kept is not None:
        if asked_now is None or kept[0] != asked_now.key:
            st.caption(
                "The result below is of the last request, not of the choices above"
                " and the model in use."
            )
        dose_view(*kept[1])
