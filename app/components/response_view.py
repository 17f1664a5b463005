"""Responders and non-responders of a stored result, beside measured changes where there are any."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from app import services
from app.components import response_charts
from app.components.figures import figure
from app.components.text import count, plain
from xpert_core.conditions import format_dose
from xpert_core.drugs.search import plain as plain_name
from xpert_core.explanation.error_by_size import error_by_size
from xpert_core.explanation.response import (
    GROUPS,
    NON_RESPONDER,
    RESPONDER,
    Changes,
    count_changed,
    distribution,
    from_pairs,
    from_prediction,
    most_changed,
    on_common,
    recognised,
    response_groups,
    violins,
)
from xpert_core.prediction import Prediction

NO_LABELS = (
    "The cohort of this result says nothing of the patients' response. Upload it with a column "
    "named response to compare responders with non-responders."
)


def response_view(prediction: Prediction, run_id: str) -> None:
    """Draw the comparison for one condition of a result."""
    labels = response_labels(prediction, run_id)
    if not labels:
        st.info(NO_LABELS)
        return
    groups = choose_groups(labels, run_id)
    sources = [chosen_changes(prediction, run_id), *other_models(prediction, run_id)]
    measured = measured_changes(run_id, str(_wanted(prediction, run_id)[0]))
    if measured is not None:
        sources = [measured, *sources]
    if len(sources) > 1:
        sources = on_common(sources)
    members = [groups.get(patient) for patient in sources[0].patients]
    sizes = [count(members.count(group), group) for group in (RESPONDER, NON_RESPONDER)]
    names = ", ".join(source.source for source in sources)
    st.caption(f"{', '.join(sizes)}; sources: {plain(names)}.")
    draw_sources(sources, groups, run_id)
    if measured is not None:
        draw_errors(sources, run_id)


def response_labels(prediction: Prediction, run_id: str) -> dict[str, str]:
    """Response of each patient as the stored cohort writes it; empty where it says nothing."""
    runs = services.store().runs()
    cohort_id = runs["cohort_id"].get(run_id)
    if not cohort_id:
        return {}
    samples = services.store().load_cohort(str(cohort_id)).samples
    rows = prediction.rows
    patient = rows["patient_id"].where(rows["patient_id"] != "", rows["sample_id"])
    response = samples["response"].fillna("").astype(str).to_dict()
    found = dict(zip(patient, rows["sample_id"].map(response).fillna(""), strict=True))
    return {str(p): label for p, label in found.items() if label}


def choose_groups(labels: Mapping[str, str], run_id: str) -> dict[str, str]:
    """Which labels mean a response; the usual words are recognised."""
    options = sorted(set(labels.values()))
    chosen = []
    titles = ("Responders", "Non-responders")
    for column, group, title in zip(st.columns(2), GROUPS, titles, strict=True):
        usual = [label for label in options if recognised(label) == group]
        chosen.append(column.multiselect(title, options, usual, key=f"{group}-{run_id}"))
    return response_groups(labels, *chosen)


def chosen_changes(prediction: Prediction, run_id: str) -> Changes:
    """One condition of the result."""
    conditions = _conditions(prediction)
    name = st.selectbox("Drug, dose and time", list(conditions), key=f"response-condition-{run_id}")
    return from_prediction(prediction, *conditions[name], source=_model(prediction, run_id))


def _wanted(prediction: Prediction, run_id: str) -> tuple[str, float, float]:
    """The chosen drug, dose and time."""
    return _conditions(prediction)[st.session_state[f"response-condition-{run_id}"]]


def _conditions(prediction: Prediction) -> dict[str, tuple[str, float, float]]:
    rows = prediction.rows[["drug", "dose_um", "time_h"]].drop_duplicates()
    return {
        f"{drug}, {format_dose(dose)}, {time:g} h": (drug, dose, time)
        for drug, dose, time in rows.itertuples(index=False)
    }


def _model(prediction: Prediction, run_id: str) -> str:
    return f"{prediction.provenance['model_name']} ({run_id[:6]})"


def other_models(prediction: Prediction, run_id: str) -> list[Changes]:
    """Other results of the same cohort and condition, such as those of a fine-tuned model."""
    runs = services.store().runs()
    same = runs[(runs["cohort_id"] == runs["cohort_id"].get(run_id)) & (runs.index != run_id)]
    if same.empty:
        return []
    names = {str(i): f"{row['model']}: {row['title']} ({str(i)[:6]})" for i, row in same.iterrows()}
    chosen = st.multiselect(
        "Results of other models to compare with", list(names), format_func=names.__getitem__,
        key=f"response-others-{run_id}",
        help="Of the same cohort, for example the fine-tuned model's beside the base model's.",
    )  # fmt: skip
    wanted = st.session_state[f"response-condition-{run_id}"]
    found = []
    for other in chosen:
        result = services.store().load_prediction(other)
        condition = _conditions(result).get(wanted)
        if condition is None:
            st.warning(f"{plain(names[other])} does not hold {plain(wanted)}; it is left out.")
            continue
        found.append(from_prediction(result, *condition, source=_model(result, other)))
    return found


def measured_changes(run_id: str, drug: str) -> Changes | None:
    """Measured changes of a stored paired cohort, where the user names one."""
    listed = services.store().pairs.list()
    if listed.empty:
        return None
    names = {str(i): f"{row['name']} ({count(row['n_pairs'], 'pair')})"
             for i, row in listed.iterrows()}  # fmt: skip
    chosen = st.selectbox(
        "Measured changes (a stored paired cohort)", [None, *names],
        format_func=lambda key: "none" if key is None else names[key],
        key=f"response-measured-{run_id}",
    )  # fmt: skip
    if chosen is None:
        return None
    pairs = services.store().pairs.load(chosen)
    given = sorted({str(name) for name in pairs.pairs["drug"]} - {""})
    if given and plain_name(drug) not in map(plain_name, given):
        st.warning(
            f"Measured under {plain(', '.join(given[:4]))}, predicted under {plain(drug)}: errors "
            "below compare different drugs."
        )
    return from_pairs(pairs)


def draw_sources(sources: list[Changes], groups: dict[str, str], run_id: str) -> None:
    """Distribution, most changed genes and violins."""
    first, unit = sources[0], sources[0].unit
    table = distribution(sources, groups)
    figure(
        response_charts.distribution_chart(table, "Changes of all genes", unit), table,
        "All genes of all patients of a group together. Predictions are smoother than "
        "measurements, so that their distribution is narrower whatever the drug does.",
        name=f"response-distribution-{run_id}", about=first.source,
    )  # fmt: skip
    names = [source.source for source in sources]
    shown = sources[names.index(st.selectbox("Genes of", names, key=f"response-of-{run_id}"))]
    genes = most_changed(shown, groups)
    figure(
        response_charts.difference_chart(genes, 25, f"Most changed genes, {shown.source}", unit),
        genes,
        "The genes that change most in either group. Predicted changes of patients come from one "
        "model and are not independent: their tests say how uniform the predictions are, and a "
        "difference between groups is one between the patients' profiles before treatment.",
        name=f"response-genes-{run_id}", about=shown.source,
    )  # fmt: skip
    counted = count_changed(shown, groups)
    st.markdown(
        f"**Changed genes at equal group sizes** (q below {counted.alpha:g}, {counted.size} "
        "patients drawn from each group 200 times)"
    )
    st.dataframe(
        counted.table.rename(
            columns={
                "group": "Group", "patients": "Patients", "all": "On all patients",
                "equal": "At equal size", "low": "2.5 %", "high": "97.5 %",
            }
        ).round(1),
        hide_index=True,
        alt="Number of changed genes of each group, on all patients and at equal group sizes",
    )  # fmt: skip
    chosen = st.multiselect(
        "Genes to show over patients", list(first.genes), list(genes["gene"].head(2)),
        key=f"response-violins-{run_id}", max_selections=6,
    )  # fmt: skip
    if chosen:
        densities = violins(sources, groups, chosen)
        figure(
            response_charts.violin_chart(densities, "Changes over patients", unit), densities,
            "Each violin is one group of patients; the bar spans the quartiles, the dot is the "
            "median. Points stand where there are too few patients for a density.",
            name=f"response-violins-{run_id}", about=first.source,
        )  # fmt: skip


def draw_errors(sources: list[Changes], run_id: str) -> None:
    """Error of each model by the size of the measured change."""
    table = error_by_size(sources[0], sources[1:])
    figure(
        response_charts.error_chart(table, "Error by size of the change"), table,
        "Error over strata of the measured change, with 95 % intervals over patients. A model is "
        "worth something where it lies below both predictions that know neither drug nor patient: "
        "no change, and the mean of the other patients. Large measured changes contain noise that "
        "nothing can predict.",
        name=f"response-errors-{run_id}", about=sources[0].source,
    )  # fmt: skip
