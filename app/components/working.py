"""Work of a page whose result stays on it: a button that starts it, and what became of it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import streamlit as st

from app import services
from app.components.errors import show_error
from app.tasks import Task, Work, launch, running, take, watch


def start_button(label: str, name: str, work: Work[Any] | None, asked: Hashable) -> None:
    """Draw the button; start `work` at the click.

    Parameters
    ----------
    label : str
        What the button says.
    name : str
        Name of the page, part of the keys.
    work : callable or None
        None = something is still to be chosen; the button is disabled.
    asked : hashable
        What the result will be an answer to; `finished` gives it back.
    """
    key = _task_key(name)
    idle = work is not None and not running(key)
    if st.button(label, type="primary", disabled=not idle, key=f"start-{name}"):
        assert work is not None
        st.session_state[f"asked-{name}"] = asked
        launch(key, Task(work, services.engine_lock()))


def finished(name: str) -> tuple[Hashable, Any] | None:
    """What was asked and its result; None while there is none. Draws progress and errors."""
    key = _task_key(name)
    if running(key):
        watch(key)
        return None
    task = take(key)
    if task is not None:
        st.session_state.pop(f"result-{name}", None)
        if task.cancelled:
            st.info("It was cancelled. Nothing was kept.")
        elif task.error is not None:
            show_error(task.error)
        else:
            kept = (st.session_state[f"asked-{name}"], task.result)
            st.session_state[f"result-{name}"] = kept
    found: tuple[Hashable, Any] | None = st.session_state.get(f"result-{name}")
    return found


def _task_key(name: str) -> str:
    return f"task-{name}"
