"""What a job's function is given: ways to report, to notice a cancel, and to keep checkpoints."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xpert_core.errors import JobCancelled, StoreError
from xpert_core.files import atomic_path
from xpert_core.store import Store
from xpert_core.store.job_records import LOG, METRIC, Claim
from xpert_core.store.models import LOCAL_OWNER

#: A report is written at once, the next ones after so many seconds, together.
FLUSH_S = 0.5

_log = logging.getLogger(__name__)


class JobContext:
    """One attempt at a job.

    Reports are collected and written by a thread at most twice a second, so that a function may
    make them as often as it likes. Use as a context manager: at the end everything is written.

    Parameters
    ----------
    store : Store
    claim : Claim
    lost : callable
        Called from the thread when the job has gone to another worker; should end the process.

    Attributes
    ----------
    store : Store
        As the owner sees it: what is saved is the owner's.
    owner : str
        Whose job it is.
    job_id : str
    attempt : int
        1 the first time; above, the folder may hold a checkpoint to go on from.
    folder : Path
        For checkpoints and scratch. It survives a crash and goes when the job is deleted.
    """

    def __init__(self, store: Store, claim: Claim, lost: Callable[[], None]) -> None:
        self.owner = claim.job.owner
        self.store = store.for_owner(self.owner)
        self.job_id = claim.job.id
        self.attempt = claim.job.attempts
        self.folder: Path = store.jobs.folder(claim.job.id)
        self._claim = claim
        self._lost = lost
        self._progress = (claim.job.done, claim.job.total, "Starting")
        self._written: tuple[int, int, str] | None = None
        self._events: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._cancel = threading.Event()
        self._closed = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, name="job-report", daemon=True)

    def __enter__(self) -> JobContext:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._news.set()
        self._thread.join()
        self._write()

    # --- for the function ---------------------------------------------------------------------

    def progress(self, done: int, total: int, text: str = "") -> None:
        """Say how far the job is: steps finished, steps in all, what is being done."""
        with self._lock:
            self._progress = (int(done), int(total), text or self._progress[2])
        self._news.set()

    def stage(self, text: str) -> None:
        """Say what is being done; the steps stay as they are, as after a restart."""
        done, total, _ = self._progress
        self.progress(done, total, text)

    def log(self, text: str) -> None:
        """Add a line to the job's log."""
        with self._lock:
            self._events.append((LOG, {"text": str(text)}))
        self._news.set()

    def metric(self, **values: float | int | str | None) -> None:
        """Add numbers to the job's live curves, e.g. ``metric(epoch=3, train_loss=0.4)``.

        ``epoch`` or ``step``, where given, is the position on the horizontal axis; every other name
        is a curve.
        """
        with self._lock:
            self._events.append((METRIC, dict(values)))
        self._news.set()

    def cancelled(self) -> bool:
        """Whether the job should stop; costs nothing, so it may be asked in any loop."""
        return self._cancel.is_set()

    def check(self) -> None:
        """Stop here if the job should stop.

        Raises
        ------
        JobCancelled
            If so; let it through.
        """
        if self.cancelled():
            raise JobCancelled("The job was cancelled.")

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` returns, kept in the folder: a further attempt reads it and makes nothing.

        Parameters
        ----------
        name : str
            Of the file.
        make : callable
            Returns JSON values.
        """
        path = self.folder / name
        if not path.is_file():
            found = make()
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(found), encoding="utf-8")
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept

    def model_folder(self, model: str | Path | None) -> Path:
        """Checkpoint of a model: an id or name of the registry, or None for the owner's default.

        A path to a folder is for the single user of a machine: on a server it would be a way to
        read what belongs to others.
        """
        if model is None or self.owner == LOCAL_OWNER:
            return self.store.registry.folder_of(model)
        return self.store.registry.get(str(model)).folder

    # --- for the process that runs it -----------------------------------------------------------

    def cancel(self) -> None:
        """Make `cancelled` true."""
        self._cancel.set()

    def _keep_writing(self) -> None:
        while not self._closed.is_set():
            self._news.wait()
            self._news.clear()
            self._write()
            self._closed.wait(FLUSH_S)

    def _write(self) -> None:
        with self._lock:
            progress, events = self._progress, self._events
            if progress == self._written and not events:
                return
            self._events = []
        try:
            valid = self.store.claims.report(self._claim, *progress, events)
        except StoreError as error:  # a busy database: what was reported is written next time
            _log.warning("The progress of job %s could not be kept: %s", self.job_id, error.what)
            with self._lock:
                self._events = events + self._events
            self._news.set()
            return
        self._written = progress
        if not valid:
            self._lost()
