"""Jobs: what runs in the background; open, cancel, try again, delete."""

from __future__ import annotations

import io
import zipfile
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from app import keys, services
from app.components.deletion import confirm_in_dialog
from app.components.errors import guarded, guarded_callback, show_notice
from app.components.exports import download
from app.components.job_view import EVERY_S, cancel, job_view
from app.components.sharing import sharing
from app.components.text import local_time, plain, without_formulas
from xpert_core.jobs import Job
from xpert_core.jobs.explaining import RESULT
from xpert_core.store.job_records import CANCELLED, DONE, FAILED

#: Seconds between looks at a list in which nothing runs.
IDLE_S = 5.0


#: What stays of each kind of job when it is deleted, and what does not.
KEPT = {
    "predict": "The result that it stored stays.",
    "train": "The model that it registered stays.",
    "finetune": "The model that it registered stays, with its scores in its card; the comparison "
    "patient by patient goes.",
    "benchmark": "The numbers that it stored stay; its report and predictions go, unless they were "
    "written to a folder of your own.",
    "explain": "The files of the explanation go with it: download them first.",
}


def retry(job_id: str, owner: str) -> None:
    """Put a failed or cancelled job back into the queue."""
    with guarded_callback():
        services.store().jobs.retry(job_id, owner)


@st.dialog("Delete this job?")
def confirm_deletion(job: Job, owner: str) -> None:
    """Ask before a job goes."""

    def delete(job_id: str) -> None:
        with guarded_callback():
            services.store().jobs.delete(job_id, owner)
            st.query_params.pop(keys.JOB, None)

    kept = KEPT.get(job.kind, "")
    words = f"{plain(job.title)} will be deleted with its log and its checkpoints. {kept}"
    confirm_in_dialog(words, "confirm-delete-job", delete, job.id)


def progress_of(job: Job) -> str:
    """How far a job is: ``"12 of 40, Epoch 12"``."""
    if job.ended or not job.total:
        return "" if job.ended else job.stage
    return f"{job.done:,} of {job.total:,}, {job.stage}"


def states(jobs: list[Job]) -> list[tuple[str, str]]:
    """Which jobs there are and where each stands."""
    return [(job.id, job.status) for job in jobs]


def job_table(owner: str, shown: list[tuple[str, str]]) -> None:
    """Table of the jobs; when one has another state than `shown`, the page is drawn anew."""
    with guarded():
        jobs = services.store().jobs.find(owner)
        if states(jobs) != shown:
            st.rerun()
        table = pd.DataFrame(
            {
                "submitted": [local_time(job.created_at) for job in jobs],
                "title": [job.title for job in jobs],
                "kind": [job.kind for job in jobs],
                "status": [job.status for job in jobs],
                "progress": [progress_of(job) for job in jobs],
                "address": [job.id for job in jobs],
            }
        )
        st.dataframe(
            without_formulas(table),
            hide_index=True,
            alt="Background jobs with date, title, kind, status, progress and address",
            column_config={
                "submitted": st.column_config.TextColumn("Submitted"),
                "title": st.column_config.TextColumn("Title", width="medium"),
                "kind": st.column_config.TextColumn("Kind"),
                "status": st.column_config.TextColumn("Status"),
                "progress": st.column_config.TextColumn("Progress", width="medium"),
                "address": st.column_config.TextColumn(f"Address (?{keys.JOB}=)"),
            },
        )


def list_page(owner: str) -> None:
    """All jobs of the user."""
    jobs = services.store().jobs.find(owner)
    if not jobs:
        st.info(
            "No job yet. Long work (fine-tuning, training, benchmarks, large screens) is shown "
            "here while it runs in the background, and stays after this page is closed."
        )
        return
    at_work = any(not job.ended for job in jobs)
    st.fragment(run_every=EVERY_S if at_work else IDLE_S)(job_table)(owner, states(jobs))
    labels = {job.id: f"{job.title} ({local_time(job.created_at)}, {job.id})" for job in jobs}
    chosen = st.selectbox("Job", list(labels), format_func=labels.__getitem__, key="chosen-job")
    job = next(job for job in jobs if job.id == chosen)
    columns = st.columns([1, 1, 1, 1, 1])
    if columns[0].button("Open", type="primary", key="open-job", width="stretch"):
        st.query_params[keys.JOB] = chosen
        st.rerun()
    actions(job, owner, columns[1:])


def actions(job: Job, owner: str, columns: list[st.delta_generator.DeltaGenerator]) -> None:
    """Buttons of what can be done with a job as it stands; a running one is cancelled first."""
    own = job.owner == owner
    columns[0].button(
        "Cancel",
        key="cancel-job",
        disabled=not own or job.ended or job.cancel_requested,
        on_click=cancel,
        args=(job.id, owner),
        width="stretch",
    )
    columns[1].button(
        "Try again",
        key="retry-job",
        disabled=not own or job.status not in (FAILED, CANCELLED),
        on_click=retry,
        args=(job.id, owner),
        help="It goes on from its last checkpoint.",
        width="stretch",
    )
    deletable = own and job.ended
    if columns[2].button("Delete", key="delete-job", disabled=not deletable, width="stretch"):
        confirm_deletion(job, owner)
    share = services.store().jobs.share
    sharing("job", job.id, job.owner, shared=job.shared, own=own, share=share)


def job_page(job_id: str, owner: str) -> None:
    """One job, at its own address."""
    st.page_link("views/jobs.py", label="All jobs", icon=":material/arrow_back:")
    job = job_view(job_id, owner)
    if job is None:
        return
    if job.status == DONE and job.result:
        result_of(job)
    if job.ended:
        actions(job, owner, st.columns([1, 1, 1, 2])[:3])


def zipped(folder: Path) -> bytes:
    """All files of a folder as one ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return buffer.getvalue()


def result_of(job: Job) -> None:
    """Where the result of a finished job is."""
    run_id = (job.result or {}).get("run_id")
    if job.kind == "finetune":
        st.page_link(
            "views/finetune.py",
            label="Open the comparison",
            icon=":material/link:",
            query_params={keys.JOB: job.id},
        )
    elif job.kind == "explain":
        folder = services.store().jobs.folder(job.id) / RESULT
        download(
            "Download the files (ZIP)", partial(zipped, folder), "explanation.zip", "job-files"
        )
        st.markdown("\n".join(f"- {plain(name)}" for name in (job.result or {})["files"]))
    elif run_id:
        st.page_link(
            "views/results.py",
            label="Open the result",
            icon=":material/link:",
            query_params={keys.RUN: run_id},
        )
    else:
        if job.kind == "train":
            st.page_link("views/models.py", label="All models", icon=":material/link:")
        st.json(job.result or {}, expanded=1)


def page() -> None:
    """Draw the page from top to bottom."""
    st.title("Jobs")
    show_notice()
    job_id = st.query_params.get(keys.JOB)
    with guarded():
        owner = services.store().owner
        if job_id:
            job_page(job_id, owner)
        else:
            list_page(owner)


page()
