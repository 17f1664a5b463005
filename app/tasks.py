"""Work in a thread of its own, so that the page stays alive and can cancel it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import streamlit as st

from app.components.text import plain
from xpert_core.prediction.predictor import Cancelled, Progress

T = TypeVar("T")
#: Work that tells its progress and asks whether to stop.
Work = Callable[[Progress, Cancelled], T]
#: A task that ends within this time needs no progress bar.
PATIENCE_S = 1.5


class Task(Generic[T]):
    """One piece of work on its way to a result.

    The thread never touches the page: it writes a few plain fields that the page reads.

    Parameters
    ----------
    work : callable
        Given a progress function (done, total, text) and a function that says whether to stop.
    lock : Lock
        Held while it works: two at once would only slow each other.

    Attributes
    ----------
    done, total : int
    stage : str
        What is being done now, in words.
    result : T or None
    error : Exception or None
        What ended the task, if anything did.
    seconds : float
        Time taken, waiting excluded.
    """

    def __init__(self, work: Work[T], lock: threading.Lock) -> None:
        self.work = work
        self.lock = lock
        self.done, self.total, self.stage = 0, 0, "Waiting for the model"
        self.result: T | None = None
        self.error: Exception | None = None
        self.seconds = 0.0
        self._cancel = threading.Event()
        self._finished = threading.Event()

    def start(self) -> None:
        """Begin; returns at once."""
        threading.Thread(target=self._run, name="xpert-task", daemon=True).start()

    def cancel(self) -> None:
        """Ask to stop."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        """Whether the user asked to stop."""
        return self._cancel.is_set()

    @property
    def running(self) -> bool:
        """Whether the thread is still at work."""
        return not self._finished.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds`; whether the task is over."""
        return self._finished.wait(seconds)

    def _run(self) -> None:
        try:
            while not self.lock.acquire(timeout=0.2):
                if self.cancelled:
                    return
            started = time.perf_counter()
            try:
                found = self.work(self._progress, self._cancel.is_set)
            finally:
                self.lock.release()
                self.seconds = time.perf_counter() - started
            self._keep(found)
        except Exception as error:  # shown by the page: a thread has no one to raise to
            self.error = error
        finally:
            self._finished.set()

    def _keep(self, found: T) -> None:
        """Take over what the work gave; others may work meanwhile."""
        self.result = found

    def _progress(self, done: int, total: int, stage: str) -> None:
        self.done, self.total, self.stage = done, total, stage


def running(key: str) -> bool:
    """Whether the task kept in the session under `key` is at work."""
    task: Task | None = st.session_state.get(key)
    return task is not None and task.running


def launch(key: str, task: Task) -> None:
    """Start a task, keep it in the session under `key` and give it a moment to finish."""
    st.session_state[key] = task
    task.start()
    with st.spinner("Working"):
        over = task.wait(PATIENCE_S)
    if not over:
        st.rerun()  # draws the buttons disabled


def take(key: str) -> Task | None:
    """The task kept under `key` once it is over; it is kept no longer."""
    return None if running(key) else st.session_state.pop(key, None)


@st.fragment(run_every=1.0)
def watch(key: str) -> None:
    """Progress of the running task, with a way to stop it."""
    task: Task | None = st.session_state.get(key)
    if task is None or not task.running:
        st.rerun()
    assert task is not None
    share = task.done / task.total if task.total else 0.0
    st.progress(min(share, 1.0), plain("Stopping" if task.cancelled else task.stage))
    st.button("Cancel", on_click=task.cancel, disabled=task.cancelled, key=f"cancel-{key}")
