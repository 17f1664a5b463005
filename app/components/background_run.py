"""A prediction as a background job: it outlives the page, and the queue shares the machine."""

from __future__ import annotations

from dataclasses import asdict

import streamlit as st

from app import keys, services
from app.background import Request
from app.components.text import plain
from xpert_core.jobs import submit


def background_button(request: Request, *, disabled: bool) -> None:
    """Button that puts a request into the queue, and then says where it is to be seen."""
    pressed = st.button(
        "Predict in the background",
        disabled=disabled,
        key="predict-later",
        help="For large requests: you may close the page; the result is stored when it is done.",
    )
    if not pressed:
        return
    job_id = submit(
        services.store(),
        "predict",
        {
            "cohort_id": request.cohort_id,
            "model": services.model_in_use().id,
            "samples": list(request.samples),
            "drugs": [asdict(drug) for drug in request.drugs],
            "doses": list(request.doses),
            "times": list(request.times),
            "title": request.title,
        },
        title=request.title,
    )
    st.success(f"Waiting in the queue: {plain(request.title)}")
    st.page_link(
        "views/jobs.py",
        label="Watch it",
        icon=":material/arrow_forward:",
        query_params={keys.JOB: job_id},
    )
