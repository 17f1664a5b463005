"""A background job on a page: where it stands, its live curves, its log, a way to stop it.

Everything shown is read from the database, so that it is the same after a refresh, in another
browser window and after a restart of the dashboard.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from app import services
from app.components.charts import Chart, draw
from app.components.errors import guarded, guarded_callback, show_error, show_notice
from app.components.text import count, local_time, plain
from xpert_core.jobs import Job
from xpert_core.store.job_records import CANCELLED, DONE, RUNNING, SUBMITTED

#: Seconds between looks at a running job.
EVERY_S = 1.0
#: Lines of the log shown.
LOG_LINES = 200
#: What the numbers of a training are, in words; others go by their own names.
CURVES = {
    "train_total": "loss, all terms",
    "train_deg_mse": "error of the change (MSE)",
    "train_deg_pcc": "1 - correlation of the change",
    "train_pert_mse": "error of the profile after treatment (MSE)",
    "train_cell_class": "cell or tissue not recognised",
    "train_direction": "direction of the change",
    "pcc_level3": "correlation, log2 change",
    "pcc_level5": "correlation, z-score",
    "score": "score that chooses the epoch",
}
#: Names that stand for a position, not for a curve.
POSITIONS = ("epoch", "step")


def job_view(job_id: str, owner: str | None = None) -> Job | None:
    """Draw a job, anew every second while it runs, and the whole page once when it has ended.

    Parameters
    ----------
    job_id : str
    owner : str, optional
        The user at the page, by default that of the session; the job of another owner is an error,
        unless it is shared.

    Returns
    -------
    Job or None
        As it stands; None where it could not be read, which the page then says.
    """
    job: Job | None = None
    with guarded():
        owner = owner or services.store().owner
        job = services.store().jobs.get(job_id, owner)
        show_notice()
        if job.ended:
            _draw(job, owner)
        else:
            _watch(job_id, owner)
    return job


@st.fragment(run_every=EVERY_S)
def _watch(job_id: str, owner: str) -> None:
    with guarded():
        job = services.store().jobs.get(job_id, owner)
        if job.ended:
            st.rerun()
        _draw(job, owner)


def _draw(job: Job, owner: str) -> None:
    st.markdown(f"**{plain(job.title or job.kind)}**")
    st.caption(plain(status_line(job)))
    if not job.ended:
        _progress(job, owner)
    if job.failure is not None:
        show_error(job.failure)
    metrics = services.store().jobs.metrics(job.id, owner)
    for chart in metric_charts(_shown_run(job, metrics)):
        draw(chart)
    lines = services.store().jobs.log(job.id, owner, lines=LOG_LINES)
    if lines:
        with st.expander(f"Log ({count(len(lines), 'line')})", key=f"log-{job.id}"):
            st.code(
                "\n".join(f"{local_time(e.created_at)}  {e.payload['text']}" for e in lines),
                language=None,
                height=300,
            )


def _shown_run(job: Job, metrics: list[dict[str, Any]]) -> pd.DataFrame:
    """Numbers of the training that was begun last, or of another one that the user chooses."""
    runs = list(dict.fromkeys(str(values["run"]) for values in metrics if "run" in values))
    if len(runs) < 2:
        return metric_table(metrics)
    chosen = st.selectbox(
        "Curves of", ["the training begun last", *runs[::-1]], key=f"curves-{job.id}"
    )
    wanted = chosen if chosen in runs else runs[-1]
    st.caption(plain(wanted))
    return metric_table([values for values in metrics if values.get("run") == wanted])


def status_line(job: Job) -> str:
    """One sentence: where the job stands."""
    if job.status == SUBMITTED:
        again = f" It was begun {count(job.attempts, 'time')} already." if job.attempts else ""
        return f"Waiting for a worker since {local_time(job.created_at)}.{again}"
    if job.status == RUNNING:
        attempt = f", attempt {job.attempts}" if job.attempts > 1 else ""
        return f"Running{attempt}, on {job.worker.split(':')[0]}."
    ending = {DONE: "Done", CANCELLED: "Cancelled"}.get(job.status, "Failed")
    when = f", {local_time(job.finished_at)}" if job.finished_at else ""
    return f"{ending}{when}."


def _progress(job: Job, owner: str) -> None:
    stage = "Stopping" if job.cancel_requested else job.stage
    if job.total:
        stage = f"{stage} ({job.done:,} of {job.total:,})"
    st.progress(job.fraction, plain(stage or "Waiting"))
    if not services.store().claims.workers():
        st.warning(
            "No worker is running, so nothing happens until one starts. `make app` starts one "
            "beside the dashboard; `xpert worker` starts another."
        )
    st.button(
        "Cancel",
        key=f"cancel-{job.id}",
        on_click=cancel,
        args=(job.id, owner),
        disabled=job.cancel_requested or job.owner != owner,
    )


def cancel(job_id: str, owner: str) -> None:
    """Stop a job; an error is shown at the next drawing."""
    with guarded_callback():
        services.store().jobs.cancel(job_id, owner)


def metric_table(metrics: list[dict[str, Any]]) -> pd.DataFrame:
    """Numbers of a job, one row a value.

    Returns
    -------
    DataFrame
        Columns ``position`` (epoch, step, or the number of the report), ``curve``, ``value``; of
        values reported again after a restart, the last.
    """
    rows = []
    for number, values in enumerate(metrics, start=1):
        position = next((values[p] for p in POSITIONS if p in values), number)
        rows += [
            (float(position), name, float(value))
            for name, value in values.items()
            if name not in POSITIONS and isinstance(value, int | float)
        ]
    table = pd.DataFrame(rows, columns=["position", "curve", "value"])
    return table.drop_duplicates(["position", "curve"], keep="last").dropna()


def metric_charts(table: pd.DataFrame) -> list[Chart]:
    """Curves of training and, on an axis of their own, of validation."""
    training = table["curve"].str.contains("^train|loss", case=False)
    named = table.assign(curve=table["curve"].replace(CURVES))
    parts = {"Training": named[training], "Validation": named[~training]}
    return [_curves(part, title) for title, part in parts.items() if not part.empty]


def _curves(table: pd.DataFrame, title: str) -> Chart:
    base = alt.Chart(table).encode(
        x=alt.X("position:Q", title="Epoch or step", axis=alt.Axis(tickMinStep=1, format="~g")),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(format="~g")),
        color=alt.Color("curve:N", title="Curve", legend=alt.Legend(labelLimit=300)),
        tooltip=["curve:N", "position:Q", alt.Tooltip("value:Q", format=".4g")],
    )
    lines = base.mark_line().encode(strokeDash=alt.StrokeDash("curve:N", title="Curve"))
    points = base.mark_point(filled=True, size=28).encode(shape=alt.Shape("curve:N", title="Curve"))
    last = table.groupby("curve")["value"].last()
    said = ", ".join(f"{name} {value:.3g}" for name, value in last.items())
    return alt.layer(lines, points).properties(
        height=240, description=f"{title} against epoch or step. Last values: {said}."
    )
