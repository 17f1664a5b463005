"""The upload box: reads a file once, keeps its check in the session, says what was understood."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from app import keys, services
from xpert_core.cohorts import CohortCheck, check_cohort, read_cohort
from xpert_core.cohorts.records import SCALES, Cohort

FILE_TYPES = ("csv", "tsv", "txt", "xlsx", "parquet", "h5ad", "gct", "gctx")
#: Also `server.maxUploadSize` of .streamlit/config.toml.
MAX_UPLOAD_MB = 200
ORIENTATIONS = {
    "auto": "Detect",
    "rows": "One sample a row",
    "columns": "One gene a row",
}


@dataclass(frozen=True)
class Upload:
    """A file that was read, with the choices it was read under.

    Attributes
    ----------
    content : bytes
        The file, kept until the cohort is stored or replaced, so that it can be read again
        on another scale.
    """

    filename: str
    content: bytes
    scale: str | None
    orientation: str
    cohort: Cohort
    check: CohortCheck


def upload_box() -> None:
    """Draw the box; read a file that is new."""
    turn = st.session_state.setdefault(keys.UPLOAD_TURN, 0)
    sent = st.file_uploader(
        "Expression file of your patients, before treatment",
        type=list(FILE_TYPES),
        key=f"file-{turn}",
        help="One sample a row and one gene a column, or the other way round. "
        "The file stays on the machine that runs this page.",
    )
    st.caption(
        f"CSV, TSV, Excel, Parquet, h5ad, GCT or GCTX, at most {MAX_UPLOAD_MB} MB. Genes as "
        "symbols, Ensembl or Entrez identifiers, or array probes."
    )
    if sent is not None:
        forget_upload()
        st.session_state[keys.UPLOAD_TURN] = turn + 1
        with st.spinner("Reading and checking the file"):
            st.session_state[keys.UPLOAD] = _read(sent.name, sent.getvalue(), None, "auto")
        st.rerun()


def forget_upload() -> None:
    """Drop the uploaded file and everything read from it."""
    for key in (keys.UPLOAD, keys.SCALE, keys.ORIENTATION):
        st.session_state.pop(key, None)


def current_upload() -> Upload | None:
    """The file under inspection, if any."""
    return st.session_state.get(keys.UPLOAD)


def reading_choices(upload: Upload) -> None:
    """Selectors of scale and orientation; a change reads the file again."""
    left, right = st.columns(2)
    automatic = "Detect"
    scale = left.selectbox(
        "Scale of the values",
        [automatic, *SCALES],
        key=keys.SCALE,
        help="Change it only if you know that the detection is wrong.",
    )
    orientation = right.selectbox(
        "Layout of the table",
        list(ORIENTATIONS),
        key=keys.ORIENTATION,
        format_func=ORIENTATIONS.__getitem__,
    )
    wanted = (None if scale == automatic else scale, orientation)
    if wanted != (upload.scale, upload.orientation):
        with st.spinner("Reading the file again"):
            st.session_state[keys.UPLOAD] = _read(upload.filename, upload.content, *wanted)
        st.rerun()


def _read(filename: str, content: bytes, scale: str | None, orientation: str) -> Upload:
    cohort = read_cohort(
        content,
        filename=filename,
        scale=scale,
        orientation=orientation,
        panel=services.panel(),
        limit_mb=MAX_UPLOAD_MB,
    )
    check = check_cohort(cohort, services.panel())
    return Upload(filename, content, scale, orientation, cohort, check)
