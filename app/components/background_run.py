"""A prediction or explanation as a background job: it outlives the page, and the queue shares the
machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import streamlit as st

from app import keys, services
from app.background import Request
from app.components.text import plain
from xpert_core.jobs import submit


def background_button(request: Request, *, disabled: bool) -> None:
    """Button that puts a request into the queue, and then says where it is to be seen."""
    if not st.button(
        "Predict in the background",
        disabled=disabled,
        key="predict-later",
        help="For large requests: you may close the page; the result is stored when it is done.",
    ):
        return
    params = {
        "cohort_id": request.cohort_id,
        "samples": list(request.samples),
        "drugs": [asdict(drug) for drug in request.drugs],
        "doses": list(request.doses),
        "times": list(request.times),
        "title": request.title,
    }
    queue("predict", params, request.title)


def queue(kind: str, params: dict[str, Any], title: str) -> None:
    """Put a job into the queue, done by the model of this session, and say where it is seen."""
    model = services.model_in_use().id
    job_id = submit(services.store(), kind, {**params, "model": model}, title=title)
    st.success(f"Waiting in the queue: {plain(title)}")
    st.page_link(
        "views/jobs.py",
        label="Watch it",
        icon=":material/arrow_forward:",
        query_params={keys.JOB: job_id},
    )
