"""The queue of background jobs as people see it: submit, look, cancel, try again, delete.

What a worker does with the queue is in `claims`. Times are those of the database's own clock, so
that machines whose clocks differ agree on them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, insert, select, type_coerce, update
from sqlalchemy.orm import Session

from xpert_core.errors import JobError
from xpert_core.store.arrays import checked_id, new_id
from xpert_core.store.database import Database
from xpert_core.store.engine import is_sqlite
from xpert_core.store.failures import explained
from xpert_core.store.frames import decode, encode
from xpert_core.store.job_records import (
    CANCELLED,
    FAILED,
    LOG,
    METRIC,
    RUNNING,
    SUBMITTED,
    Job,
    JobEvent,
)
from xpert_core.store.models import LOCAL_OWNER, JobEventRow, JobRow, UTCDateTime, utc_now
from xpert_core.store.owners import changeable, readable, visible
from xpert_core.store.presence import is_dead


class JobQueue:
    """Jobs in the database.

    Methods that take `owner` treat another owner's job like one that does not exist, unless it is
    shared: then it can be looked at.

    Parameters
    ----------
    database : Database
    owner : str, optional
        Whose jobs these are where a method is not told; None sees all, and submits for
        `LOCAL_OWNER`.
    """

    def __init__(self, database: Database, owner: str | None = None) -> None:
        self._database = database
        self._owner = owner

    def submit(
        self, kind: str, params: Mapping[str, Any], *, title: str = "", owner: str | None = None
    ) -> str:
        """Put a job at the end of the queue and return its id.

        `xpert_core.jobs.submit` also checks that `kind` exists.

        Raises
        ------
        StoreError
            A parameter cannot be kept, or the database cannot be written.
        """
        owner = owner or self._owner or LOCAL_OWNER
        row: dict[str, Any] = {
            "id": new_id(),
            "owner": owner,
            "kind": kind,
            "title": title,
            "status": SUBMITTED,
        }
        row["params"] = encode(dict(params), "parameters of the job")
        with self._database.writing("The job could not be submitted") as session:
            session.execute(insert(JobRow), [row])
        return str(row["id"])

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """The job with this id.

        Raises
        ------
        StoreError
            There is none, or it is another owner's.
        """
        owner = owner or self._owner
        with self._database.reading("The job could not be read") as session:
            return _as_seen_by(owner, job_of(readable(session, JobRow, job_id, owner)))

    def find(
        self, owner: str | None = None, *, kinds: Sequence[str] = (), limit: int = 500
    ) -> list[Job]:
        """Jobs, the last submitted first; of some `kinds` only, where these are given."""
        owner = owner or self._owner
        query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id).limit(limit)
        query = query.where(visible(JobRow, owner))
        if kinds:
            query = query.where(JobRow.kind.in_(kinds))
        with self._database.reading("The jobs could not be listed") as session:
            return [_as_seen_by(owner, job_of(row)) for row in session.scalars(query)]

    def events(
        self,
        job_id: str,
        owner: str | None = None,
        *,
        kind: str | None = None,
        after: int = 0,
        limit: int = 10_000,
    ) -> list[JobEvent]:
        """The last `limit` events with a number above `after`, the oldest first."""
        query = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.id > after)
        if kind is not None:
            query = query.where(JobEventRow.kind == kind)
        with self._database.reading("The log of the job could not be read") as session:
            readable(session, JobRow, job_id, owner or self._owner)
            rows = session.scalars(query.order_by(JobEventRow.id.desc()).limit(limit)).all()
        return [
            JobEvent(row.id, row.attempt, row.created_at, row.kind, decode(row.payload))
            for row in reversed(rows)
        ]

    def log(self, job_id: str, owner: str | None = None, *, lines: int = 200) -> list[JobEvent]:
        """The last lines of the log, the oldest first."""
        return self.events(job_id, owner, kind=LOG, limit=lines)

    def metrics(self, job_id: str, owner: str | None = None) -> list[dict[str, Any]]:
        """The numbers a job reported, in order.

        An attempt that went on from a checkpoint reports some steps again: the later values count
        for whoever keeps the last of each step.
        """
        return [event.payload for event in self.events(job_id, owner, kind=METRIC)]

    def cancel(self, job_id: str, owner: str | None = None) -> None:
        """Stop a job: at once when nobody works on it, else its worker stops it within 2 seconds.

        A job that has ended stays as it is.
        """
        with self._database.writing("The job could not be cancelled") as session:
            row = changeable(session, JobRow, job_id, owner or self._owner)
            now, folder = clock(session), self._database.jobs_folder
            worked_on = row.status == RUNNING and not is_dead(
                folder, row.worker, row.heartbeat_at, now
            )
            stopped = {"status": CANCELLED, "claim": None, "finished_at": now}
            session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.status == row.status)
                .where(JobRow.status.in_((SUBMITTED, RUNNING)))
                .values(cancel_requested=True, **({} if worked_on else stopped))
            )

    def retry(self, job_id: str, owner: str | None = None) -> None:
        """Put a failed or cancelled job back into the queue; it goes on from its checkpoint.

        Raises
        ------
        JobError
            The job is waiting, running or done.
        """
        with self._database.writing("The job could not be submitted again") as session:
            row = changeable(session, JobRow, job_id, owner or self._owner)
            if row.status not in (FAILED, CANCELLED):
                raise JobError(
                    f"This job is {row.status}: only a failed or cancelled job is tried again.",
                    where=row.title or job_id,
                    fix="Submit a new job with the same choices.",
                )
            again = {"status": SUBMITTED, "cancel_requested": False, "claim": None}
            again |= {"crashes": 0, "crash_done": 0}
            empty: dict[str, Any] = dict.fromkeys(("error", "result", "finished_at"))
            session.execute(
                update(JobRow)
                .where(JobRow.id == job_id, JobRow.status == row.status)
                .values(**again, **empty)
            )

    def delete(self, job_id: str, owner: str | None = None) -> None:
        """Delete a job with its log and its folder; results it stored elsewhere stay.

        Raises
        ------
        JobError
            A worker is at it.
        """
        with self._database.writing("The job could not be deleted") as session:
            row = changeable(session, JobRow, job_id, owner or self._owner)
            if row.status == RUNNING:
                raise JobError(
                    "This job is running.", where=row.title or job_id, fix="Cancel it first."
                )
            session.execute(delete(JobRow).where(JobRow.id == job_id))
        self._database.erase([])
        folder = self.folder(job_id)
        with explained("The job is gone, but its folder could not be deleted", str(folder)):
            if folder.exists():
                shutil.rmtree(folder)

    def share(self, job_id: str, shared: bool, owner: str | None = None) -> None:
        """Let everybody on this database look at a job and its log, or nobody else."""
        with self._database.writing("The sharing could not be changed") as session:
            changeable(session, JobRow, job_id, owner or self._owner).shared = shared

    @property
    def root(self) -> Path:
        """Folder of the folders of all jobs."""
        return self._database.jobs_folder

    def folder(self, job_id: str) -> Path:
        """Folder of a job's checkpoints; its work creates it."""
        return self.root / checked_id(job_id, "job")

    def sweep_folders(self) -> int:
        """Delete folders whose job is gone, left by a kill during a deletion; returns how many."""
        with explained("Left-over folders of jobs could not be swept", str(self.root)):
            folders = [p for p in self.root.glob("*") if re.fullmatch(r"[0-9a-f]{16}", p.name)]
            # First the folders, then the rows: a folder whose row comes in between is kept.
            with self._database.read_session() as session:
                known = set(session.scalars(select(JobRow.id)))
            orphans = [path for path in folders if path.name not in known]
            for path in orphans:
                shutil.rmtree(path, ignore_errors=True)
        return len(orphans)


def clock(session: Session) -> datetime:
    """This moment on the clock of the database (of this machine, where it is a file)."""
    if is_sqlite(session.get_bind().engine.url):
        return utc_now()
    now: datetime = session.execute(select(type_coerce(func.now(), UTCDateTime()))).scalar_one()
    return now


def _as_seen_by(owner: str | None, job: Job) -> Job:
    """A job that another owner shares does not say where it failed: that may name patients."""
    if job.failure is None or owner in (None, job.owner):
        return job
    return replace(job, failure=JobError(job.failure.what, fix=job.failure.fix))


def job_of(row: JobRow) -> Job:
    """The record of a row."""
    return Job(
        id=row.id,
        owner=row.owner,
        shared=row.shared,
        kind=row.kind,
        title=row.title,
        params=decode(row.params),
        status=row.status,
        done=row.done,
        total=row.total,
        stage=row.stage,
        result=decode(row.result),
        failure=None
        if row.error is None
        else JobError(row.error["message"], where=row.error["where"], fix=row.error["fix"]),
        attempts=row.attempts,
        crashes=row.crashes,
        worker=row.worker or "",
        cancel_requested=row.cancel_requested,
        created_at=row.created_at,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        finished_at=row.finished_at,
    )
