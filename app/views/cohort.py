"""Cohort: upload a file, read what was understood, store it."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from app import keys, services
from app.components.cohort_store import close_cohort, cohort_labels, keep_cohort
from app.components.deletion import confirm_in_dialog
from app.components.errors import guarded, guarded_callback, show_notice
from app.components.exports import csv_bytes, download
from app.components.gene_report import gene_report
from app.components.sharing import sharing
from app.components.text import count, plain, slug, without_formulas
from app.components.upload_box import (
    Upload,
    current_upload,
    forget_upload,
    reading_choices,
    upload_box,
)
from app.users import identities_configured
from xpert_core.cohorts import template_csv, to_profiles
from xpert_core.cohorts.pseudonyms import pseudonymised
from xpert_core.cohorts.records import Profiles

TEMPLATES = {
    "pretreatment": "Before treatment",
    "paired": "Before and after",
}


def templates() -> None:
    """Correct input files to start from."""
    st.markdown("**Templates**")
    st.caption("Small correct files to copy your values into.")
    for kind, label in TEMPLATES.items():
        download(label, partial(template_csv, kind), f"template_{kind}.csv", f"template-{kind}")


def verdict(upload: Upload) -> None:
    """Whether the file can be used, and why not."""
    cohort, check = upload.cohort, upload.check
    patients = int(cohort.samples["patient_id"].nunique())
    st.subheader(f"What was read from {plain(upload.filename)}")
    for reason in check.reasons:
        st.error(plain(reason))
    if check.can_predict:
        st.success("This file can be used for prediction.")
    for warning in check.warnings:
        st.warning(plain(warning))
    columns = st.columns(4)
    columns[0].metric("Samples", f"{len(cohort.samples):,}")
    columns[1].metric("Patients", f"{patients:,}")
    columns[2].metric("Columns of values", f"{len(cohort.identifiers):,}")
    columns[3].metric("Scale", cohort.scale.used)
    overridden = cohort.scale.detected != cohort.scale.used
    st.markdown(f"**Scale.** {plain(cohort.scale.evidence)}")
    if overridden:
        st.info(f"Detected: {cohort.scale.detected}. You chose: {cohort.scale.used}.")
    applied = cohort.scale.transform
    needed = f"Applied before prediction: {applied}." if applied != "none" else ""
    st.markdown(plain(" ".join([needed or "No transformation is needed.", *cohort.notes])))


def with_pseudonyms(profiles: Profiles, filename: str) -> Profiles:
    """The profiles without names, if the user wants that; the key is offered, never stored."""
    if not st.checkbox(
        "Replace patient and sample ids by pseudonyms (P001, S001, ...)",
        key=keys.PSEUDONYMS,
        help="Only the pseudonyms are stored. Samples of one patient keep one pseudonym.",
    ):
        return profiles
    changed, key = pseudonymised(profiles)
    st.warning("Download the key now: it is not stored, and nothing else leads back to the ids.")
    stem = filename.rsplit(".", 1)[0]
    download(
        "Download the key (CSV)",
        partial(csv_bytes, key),
        f"{slug(stem)}_pseudonyms.csv",
        "pseudonym-key",
        wide=False,
    )
    return changed


def keep_or_drop(upload: Upload) -> None:
    """Buttons that end the inspection."""
    profiles = None
    if upload.check.can_predict:
        profiles = with_pseudonyms(to_profiles(upload.cohort, services.panel()), upload.filename)
    left, right, _ = st.columns([2, 2, 3])
    if left.button(
        "Save cohort and continue",
        type="primary",
        disabled=profiles is None,
        key="save-cohort",
        width="stretch",
    ):
        assert profiles is not None
        with guarded():
            with st.spinner("Storing the cohort"):
                keep_cohort(profiles)
            forget_upload()
            st.switch_page("views/predict.py")
    right.button("Discard this file", on_click=forget_upload, key="discard-upload", width="stretch")


def inspection(upload: Upload) -> None:
    """All that is known about the uploaded file."""
    verdict(upload)
    with guarded():
        reading_choices(upload)
    keep_or_drop(upload)
    genes, samples = st.tabs(["Gene report", "Samples"])
    with genes:
        gene_report(upload.check.genes, upload.filename)
    with samples:
        known = upload.cohort.samples.dropna(axis="columns", how="all")
        st.caption(count(len(known), "sample"))
        st.dataframe(without_formulas(known), height=300, alt="Sample table as read from the file")


def delete_cohort(cohort_id: str) -> None:
    """Delete a cohort with its results and forget what this session holds of them."""
    with guarded_callback():
        services.store().delete_cohort(cohort_id)
        if st.session_state.get(keys.COHORT_ID) == cohort_id:
            close_cohort()
        st.session_state.pop(keys.RESULT, None)


@st.dialog("Delete this cohort?")
def confirm_deletion(cohort_id: str, label: str) -> None:
    """Ask before a cohort goes."""
    others = ", also those of other users," if identities_configured() else ""
    words = (
        f"{plain(label)} and **all results predicted from it**{others} will be deleted for good."
    )
    confirm_in_dialog(words, "confirm-delete-cohort", delete_cohort, cohort_id)


def stored_cohorts(cohorts: pd.DataFrame) -> None:
    """Reopen or delete what is stored."""
    labels = cohort_labels(cohorts)
    chosen = st.selectbox(
        "Stored cohort", list(labels), format_func=labels.__getitem__, key="stored-cohort"
    )
    store = services.store()
    owner = str(cohorts.loc[chosen, "owner"])
    own = owner == store.owner
    left, right, _ = st.columns([2, 2, 3])
    if left.button("Use this cohort", key="open-cohort", width="stretch"):
        st.session_state[keys.COHORT_ID] = chosen
        st.switch_page("views/predict.py")
    if right.button("Delete this cohort", disabled=not own, key="delete-cohort", width="stretch"):
        confirm_deletion(chosen, labels[chosen])
    sharing(
        "cohort",
        chosen,
        owner,
        shared=bool(cohorts.loc[chosen, "shared"]),
        own=own,
        share=store.share_cohort,
    )


st.title("Cohort")
show_notice()
st.markdown("Gene expression of patients or cell lines, measured before treatment.")
box, aside = st.columns([3, 1], gap="large")
with aside, guarded():
    templates()
with box, guarded():
    upload_box()
upload = current_upload()
if upload is not None:
    with guarded():
        inspection(upload)
st.subheader("Stored cohorts")
with guarded():
    table = services.store().cohorts()
    if table.empty:
        st.info("No cohort is stored yet. Upload a file above, or load the example on Home.")
        st.page_link("views/home.py", label="Go to Home", icon=":material/arrow_forward:")
    else:
        stored_cohorts(table)
