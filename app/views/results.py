"""Results: what is stored; reopen by address, export, delete."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import keys, services
from app.components.deletion import confirm_in_dialog
from app.components.errors import guarded, guarded_callback, show_notice
from app.components.result_view import result_view
from app.components.sharing import shared_words, sharing
from app.components.text import local_time, plain, without_formulas
from app.users import identities_configured
from xpert_core.conditions import format_dose
from xpert_core.prediction import Prediction


def stored_result(run_id: str) -> Prediction:
    """The result at an address, read once a session."""
    kept: tuple[str, Prediction] | None = st.session_state.get(keys.RESULT)
    if kept is not None and kept[0] == run_id:
        return kept[1]
    with st.spinner("Opening the result"):
        prediction = services.store().load_prediction(run_id)
    st.session_state[keys.RESULT] = (run_id, prediction)
    return prediction


def delete_run(run_id: str) -> None:
    """Delete a result and leave its address."""
    with guarded_callback():
        services.store().delete_run(run_id)
        st.session_state.pop(keys.RESULT, None)
        st.query_params.pop(keys.RUN, None)


@st.dialog("Delete this result?")
def confirm_deletion(run_id: str, label: str) -> None:
    """Ask before a result goes."""
    words = f"{plain(label)} will be deleted for good. The cohort stays."
    confirm_in_dialog(words, "confirm-delete-run", delete_run, run_id)


def conditions(run: pd.Series) -> str:
    """Doses and times of a result: ``"1 uM, 6 h to 24 h"``."""
    doses = {format_dose(run[f"dose_um_{end}"]): None for end in ("min", "max")}
    times = {f"{run[f'time_h_{end}']:g} h": None for end in ("min", "max")}
    return f"{' to '.join(doses)}, {' to '.join(times)}"


def choose(runs: pd.DataFrame) -> None:
    """Table of what is stored, with open and delete."""
    table = runs.reset_index(names="address")
    table["stored"] = table["created_at"].map(local_time)
    table["conditions"] = table.apply(conditions, axis=1)
    columns = ["stored", "cohort", "drugs", "conditions", "n_patients", "n_rows", "model"]
    store = services.store()
    if identities_configured():
        table["sharing"] = [
            shared_words(owner, shared=shared, own=owner == store.owner)
            for owner, shared in zip(table["owner"], table["shared"], strict=True)
        ]
        columns.append("sharing")
    st.dataframe(
        without_formulas(table[[*columns, "address"]]),
        hide_index=True,
        alt="Stored results with date, cohort, drugs, conditions, model, size and address",
        column_config={
            "stored": st.column_config.TextColumn("Stored"),
            "cohort": st.column_config.TextColumn("Cohort", width="medium"),
            "drugs": st.column_config.TextColumn("Drugs", width="medium"),
            "conditions": st.column_config.TextColumn("Doses and times"),
            "n_patients": st.column_config.NumberColumn("Patients"),
            "n_rows": st.column_config.NumberColumn("Predictions"),
            "model": st.column_config.TextColumn("Model"),
            "sharing": st.column_config.TextColumn("Shared"),
            "address": st.column_config.TextColumn(f"Address (?{keys.RUN}=)"),
        },
    )
    labels = {
        str(
            row["address"]
        ): f"{row['title']}, {row['conditions']} ({row['stored']}, {row['address']})"
        for _, row in table.iterrows()
    }
    chosen = st.selectbox("Result", list(labels), format_func=labels.__getitem__, key="stored-run")
    left, right, _ = st.columns([1, 1, 3])
    if left.button("Open", type="primary", key="open-run", width="stretch"):
        st.query_params[keys.RUN] = chosen
        st.rerun()
    own = runs.loc[chosen, "owner"] == store.owner
    if right.button("Delete", disabled=not own, key="delete-run", width="stretch"):
        confirm_deletion(chosen, labels[chosen])
    share_run(runs, chosen)


def share_run(runs: pd.DataFrame, run_id: str) -> None:
    """Sharing of a listed result."""
    store = services.store()
    owner = str(runs.loc[run_id, "owner"])
    sharing(
        "result",
        run_id,
        owner,
        shared=bool(runs.loc[run_id, "shared"]),
        own=owner == store.owner,
        share=store.share_run,
    )


def list_page() -> None:
    """Everything that is stored."""
    runs = services.store().runs()
    if runs.empty:
        st.info("No result is stored yet. Predictions are stored here by themselves.")
        st.page_link("views/predict.py", label="Make a prediction", icon=":material/arrow_forward:")
        return
    choose(runs)


def result_page(run_id: str) -> None:
    """One result, at its own address."""
    st.page_link("views/results.py", label="All stored results", icon=":material/arrow_back:")
    prediction = stored_result(run_id)
    st.caption(f"Address of this result: ?{keys.RUN}={plain(run_id)}")
    result_view(prediction, run_id)
    store = services.store()
    runs = store.runs()
    if run_id not in runs.index:
        return  # deleted meanwhile in another window
    own = runs.loc[run_id, "owner"] == store.owner
    if st.button("Delete this result", disabled=not own, key="delete-open-run"):
        confirm_deletion(run_id, run_id)
    share_run(runs, run_id)


st.title("Results")
show_notice()
run = st.query_params.get(keys.RUN)
with guarded():
    if run:
        result_page(run)
    else:
        list_page()
