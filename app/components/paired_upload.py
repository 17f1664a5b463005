"""The upload box of paired cohorts: before and after treatment, in one file or in two."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from app import keys, services
from app.components.text import count, plain, without_formulas
from app.components.upload_box import FILE_TYPES, MAX_UPLOAD_MB
from xpert_core.cohorts import (
    PairCheck,
    PairedProfiles,
    check_pairs,
    paired_example_path,
    read_cohort,
    read_paired_files,
    to_pairs,
)
from xpert_core.cohorts.records import SCALES

AUTOMATIC = "Detect"


@dataclass(frozen=True)
class PairedUpload:
    """A paired cohort that was read, with the files and the choices it was read under.

    Attributes
    ----------
    files : tuple of (str, bytes)
        Name and content: one file, or the one before and the one after treatment. Kept so that
        they can be read again on another scale.
    scale : str or None
    pairs : PairedProfiles
    check : PairCheck
    """

    files: tuple[tuple[str, bytes], ...]
    scale: str | None
    pairs: PairedProfiles
    check: PairCheck


def paired_upload() -> None:
    """Draw the boxes and the example; read what is new."""
    turn = st.session_state.setdefault(keys.PAIRED_TURN, 0)
    one, two = st.tabs(["One file", "Two files"])
    with one:
        sent = st.file_uploader(
            "Expression file with samples before and after treatment",
            type=list(FILE_TYPES),
            key=f"paired-{turn}",
            help="A column patient_id and a column timepoint (pre, post) tell which samples belong "
            "together. The file stays on the machine that runs this page.",
        )
        if sent is not None:
            _take(((sent.name, sent.getvalue()),))
    with two:
        left, right = st.columns(2)
        before = left.file_uploader("Before treatment", list(FILE_TYPES), key=f"before-{turn}")
        after = right.file_uploader("After treatment", list(FILE_TYPES), key=f"after-{turn}")
        if before is not None and after is not None:
            files = tuple((sent.name, sent.getvalue()) for sent in (before, after))
            _take(files)
    st.caption(
        f"CSV, TSV, Excel, Parquet, h5ad (X after, obsm['X_ctl'] before), GCT or GCTX, at most "
        f"{MAX_UPLOAD_MB} MB. Columns drug, dose and time are read where they stand."
    )
    if st.button("Load the example (43 patients, nivolumab)", key="load-paired-example"):
        path = paired_example_path()
        _take(((path.name, path.read_bytes()),))


def forget_paired_upload() -> None:
    """Drop the files and everything read from them."""
    for key in (keys.PAIRED, keys.PAIRED_SCALE):
        st.session_state.pop(key, None)


def current_paired_upload() -> PairedUpload | None:
    """What is under inspection, if anything."""
    return st.session_state.get(keys.PAIRED)


def paired_checks(upload: PairedUpload) -> None:
    """What was read, what stands against fine-tuning, and what to look out for."""
    pairs, check = upload.pairs, upload.check
    st.subheader(f"What was read from {plain(pairs.name)}")
    for refusal in check.refusals:
        st.error(plain(refusal))
    if check.can_finetune:
        st.success("This cohort can be used for fine-tuning.")
    for warning in check.warnings:
        st.warning(plain(warning))
    numbers = st.columns(4)
    numbers[0].metric("Pairs", f"{check.n_pairs:,}")
    numbers[1].metric("Patients", f"{check.n_patients:,}")
    numbers[2].metric("Landmark genes", f"{check.n_genes:,} of {len(pairs.panel):,}")
    numbers[3].metric("Values", pairs.unit)
    named = [f"{drug or 'not named'} ({n})" for drug, n in check.drugs.items()]
    st.markdown(f"**Drugs.** {plain(', '.join(named))}")
    scale = st.selectbox(
        "Scale of the values",
        [AUTOMATIC, *SCALES],
        key=keys.PAIRED_SCALE,
        help="Change it only if you know that the detection is wrong.",
    )
    wanted = None if scale == AUTOMATIC else scale
    if wanted != upload.scale:
        with st.spinner("Reading the file again"):
            st.session_state[keys.PAIRED] = _read(upload.files, wanted)
        st.rerun()
    if check.notes:
        few = len(check.notes) <= 5  # patients without a partner are named here
        with st.expander(f"What reading did ({count(len(check.notes), 'note')})", expanded=few):
            st.markdown("\n".join(f"- {plain(note)}" for note in check.notes))
    with st.expander(f"Pairs ({len(pairs):,})"):
        st.dataframe(without_formulas(pairs.pairs), height=260, alt="Pairs of samples as matched")


def _take(files: tuple[tuple[str, bytes], ...]) -> None:
    forget_paired_upload()
    st.session_state[keys.PAIRED_TURN] += 1
    with st.spinner("Reading and checking the pairs"):
        st.session_state[keys.PAIRED] = _read(files, None)
    st.rerun()


def _read(files: tuple[tuple[str, bytes], ...], scale: str | None) -> PairedUpload:
    panel = services.panel()
    names = [name for name, _ in files]
    if len(files) == 1:
        cohort = read_cohort(
            files[0][1], filename=names[0], scale=scale, panel=panel, limit_mb=MAX_UPLOAD_MB
        )
    else:
        cohort = read_paired_files(
            files[0][1],
            files[1][1],
            filenames=(names[0], names[1]),
            scale=scale,
            panel=panel,
            limit_mb=MAX_UPLOAD_MB,
        )
    pairs = to_pairs(cohort, panel)
    return PairedUpload(files, scale, pairs, check_pairs(pairs))
