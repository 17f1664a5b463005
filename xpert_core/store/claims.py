"""The queue of background jobs as workers see it: claim, report, end, and take over from the dead.

A claim is a compare-and-set: of any number of workers, one turns a submitted job into a running
one. Every later write names the claim, and changes nothing once the job has another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, Update, delete, func, insert, select, update
from sqlalchemy.orm import Session

from xpert_core.errors import JobError
from xpert_core.store.arrays import new_id
from xpert_core.store.database import Database
from xpert_core.store.frames import encode
from xpert_core.store.job_records import (
    CANCELLED,
    DONE,
    FAILED,
    LOG,
    RUNNING,
    SUBMITTED,
    Claim,
    WorkerName,
)
from xpert_core.store.jobs import clock, job_of
from xpert_core.store.models import JobEventRow, JobRow, WorkerRow
from xpert_core.store.presence import is_dead, lock_file

#: A job whose process died this often, without getting further in between, is given up: it would
#: die again.
MAX_CRASHES = 3
#: The same where the worker died too, which is hardly ever the job's fault.
MAX_LOST = 20
#: Candidates looked at in one try: other workers may take the first ones meanwhile.
_CANDIDATES = 20

Event = tuple[str, dict[str, Any]]
"""Kind (log or metric) and payload."""


class Claims:
    """What workers do with the jobs of a database.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- workers ------------------------------------------------------------------------------

    def enter(self, worker: WorkerName) -> None:
        """Make a worker known."""
        with self._database.writing("The worker could not start") as session:
            now = clock(session)
            session.execute(
                insert(WorkerRow), [{"id": str(worker), "started_at": now, "heartbeat_at": now}]
            )

    def leave(self, worker: WorkerName) -> None:
        """Forget a worker."""
        with self._database.writing("The worker could not leave") as session:
            session.execute(delete(WorkerRow).where(WorkerRow.id == str(worker)))

    def workers(self) -> list[WorkerName]:
        """The workers that are alive."""
        with self._database.reading("The workers could not be listed") as session:
            now = clock(session)
            rows = session.scalars(select(WorkerRow).order_by(WorkerRow.started_at)).all()
        folder = self._database.jobs_folder
        return [
            WorkerName.parse(row.id)
            for row in rows
            if not is_dead(folder, row.id, row.heartbeat_at, now)
        ]

    def beat(self, worker: WorkerName, claim: Claim | None) -> bool:
        """Say that a worker is alive; False when `claim` is no longer its own."""
        with self._database.writing("The worker could not report") as session:
            now = clock(session)
            known = _count(
                session,
                update(WorkerRow).where(WorkerRow.id == str(worker)).values(heartbeat_at=now),
            )
            if not known:  # taken for dead while the machine slept
                row = {"id": str(worker), "started_at": now, "heartbeat_at": now}
                session.execute(insert(WorkerRow), [row])
            return claim is None or _write(session, claim, heartbeat_at=now)

    # --- one job ------------------------------------------------------------------------------

    def claim(self, worker: WorkerName) -> Claim | None:
        """Take the next job, or None when none is waiting.

        Next is the job of the owner with the fewest running jobs; of those, of the owner served
        the longest ago; of those, the oldest.
        """
        failure = "The queue of jobs could not be read"
        with self._database.reading(failure) as session:  # no write lock while nothing waits
            if session.scalar(select(JobRow.id).where(JobRow.status == SUBMITTED).limit(1)) is None:
                return None
        with self._database.writing(failure) as session:
            for job_id in _in_turn(session):
                token, now = new_id(), clock(session)
                taken = _count(
                    session,
                    update(JobRow)
                    .where(JobRow.id == job_id, JobRow.status == SUBMITTED)
                    .values(
                        status=RUNNING,
                        claim=token,
                        worker=str(worker),
                        attempts=JobRow.attempts + 1,
                        started_at=now,
                        heartbeat_at=now,
                        stage="Starting",
                    ),
                )
                if taken:
                    row = session.get_one(JobRow, job_id, populate_existing=True)
                    return Claim(job_of(row), token)
        return None

    def cancel_requested(self, claim: Claim) -> bool | None:
        """Whether the user asked to stop; None when the claim is no longer valid."""
        query = select(JobRow.cancel_requested).where(*_valid(claim))
        with self._database.reading("The queue of jobs could not be read") as session:
            return session.scalar(query)

    def report(
        self, claim: Claim, done: int, total: int, stage: str, events: Sequence[Event] = ()
    ) -> bool:
        """Write progress and events; False, and nothing written, without a valid claim."""
        with self._database.writing("The progress of the job could not be kept") as session:
            if not _write(session, claim, done=done, total=total, stage=stage):
                return False
            _add_events(session, claim, events)
        return True

    def finish(self, claim: Claim, result: Mapping[str, Any]) -> bool:
        """End a job with its result."""
        kept = encode(dict(result), "result of the job")
        return self._end(claim, DONE, result=kept, error=None, stage="Done")

    def fail(self, claim: Claim, error: JobError) -> bool:
        """End a job with the reason of its failure."""
        return self._end(claim, FAILED, error=_document(error))

    def cancelled(self, claim: Claim) -> bool:
        """End a job that its user stopped."""
        return self._end(claim, CANCELLED)

    def release(self, claim: Claim) -> bool:
        """Put a job back that its worker had to leave; no fault of the job."""
        with self._database.writing("The job could not be put back") as session:
            return _put_back(session, claim, "Put back: its worker was stopped.")

    def crashed(self, claim: Claim, reason: str, limit: int = MAX_CRASHES) -> bool:
        """Put a job back whose process died, or fail it when that happened `limit` times in a row.

        A crash counts as the first when the job got further than at the one before. A job that
        ended in time, or that its user had stopped, is not tried again.
        """
        with self._database.writing("The job could not be put back") as session:
            row = session.scalar(select(JobRow).where(*_valid(claim)))
            if row is None:
                return False
            if row.cancel_requested:
                return _end(session, claim, CANCELLED)
            crashes = 1 if row.done > row.crash_done else row.crashes + 1
            counts = {"crashes": crashes, "crash_done": max(row.done, row.crash_done)}
            if crashes < limit:
                return _put_back(session, claim, f"Put back: {reason}", **counts)
            error = JobError(
                f"The job was given up after {crashes} attempts that got no further. The last one: "
                f"{reason}",
                where=f"attempt {row.attempts}, {row.stage}",
                fix="Free memory or make the job smaller, then try it again: it goes on from its "
                "last checkpoint.",
            )
            return _end(session, claim, FAILED, error=_document(error), **counts)

    def _end(self, claim: Claim, status: str, **values: Any) -> bool:
        with self._database.writing("The end of the job could not be kept") as session:
            return _end(session, claim, status, **values)

    # --- the dead -----------------------------------------------------------------------------

    def recover(self) -> list[str]:
        """Put back the jobs of dead workers, and forget these; returns the ids of the jobs."""
        failure = "The jobs of dead workers could not be put back"
        folder = self._database.jobs_folder
        with self._database.reading(failure) as session:
            now = clock(session)
            running = session.scalars(select(JobRow).where(JobRow.status == RUNNING)).all()
            lost = [
                Claim(job_of(row), row.claim or "")
                for row in running
                if is_dead(folder, row.worker, row.heartbeat_at, now)
            ]
            gone = [
                row.id
                for row in session.scalars(select(WorkerRow))
                if is_dead(folder, row.id, row.heartbeat_at, now)
            ]
        found = [
            claim.job.id
            for claim in lost
            if self.crashed(claim, f"its worker {_place(claim.job.worker)} died.", MAX_LOST)
        ]
        if gone:
            with self._database.writing(failure) as session:
                session.execute(delete(WorkerRow).where(WorkerRow.id.in_(gone)))
            for name in gone:
                lock_file(folder, WorkerName.parse(name)).unlink(missing_ok=True)
        return found


def _in_turn(session: Session) -> list[str]:
    """Waiting jobs in the order in which they are due, see `Claims.claim`."""
    busy = (
        select(JobRow.owner, func.count().label("n"))
        .where(JobRow.status == RUNNING)
        .group_by(JobRow.owner)
        .subquery()
    )
    served = (
        select(JobRow.owner, func.max(JobRow.started_at).label("last"))
        .group_by(JobRow.owner)
        .subquery()
    )
    query = (
        select(JobRow.id)
        .where(JobRow.status == SUBMITTED)
        .outerjoin(busy, busy.c.owner == JobRow.owner)
        .outerjoin(served, served.c.owner == JobRow.owner)
        .order_by(
            func.coalesce(busy.c.n, 0),
            served.c.last.asc().nulls_first(),
            JobRow.created_at,
            JobRow.id,
        )
        .limit(_CANDIDATES)
    )
    return list(session.scalars(query))


def _valid(claim: Claim) -> tuple[Any, ...]:
    return (JobRow.id == claim.job.id, JobRow.claim == claim.token, JobRow.status == RUNNING)


def _count(session: Session, statement: Update) -> int:
    """Number of rows a statement changed."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    return cast("CursorResult[Any]", result).rowcount


def _write(session: Session, held: Claim, /, **values: Any) -> bool:
    return _count(session, update(JobRow).where(*_valid(held)).values(**values)) == 1


def _end(session: Session, held: Claim, status: str, **values: Any) -> bool:
    return _write(session, held, status=status, claim=None, finished_at=clock(session), **values)


def _put_back(session: Session, held: Claim, line: str, **values: Any) -> bool:
    stage = "Waiting to go on"
    if not _write(session, held, status=SUBMITTED, claim=None, stage=stage, **values):
        return False
    _add_events(session, held, [(LOG, {"text": line})])
    return True


def _add_events(session: Session, claim: Claim, events: Sequence[Event]) -> None:
    if not events:
        return
    now = clock(session)
    session.execute(insert(JobEventRow), [_event(claim, now, *event) for event in events])


def _event(claim: Claim, now: datetime, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "job_id": claim.job.id,
        "attempt": claim.job.attempts,
        "created_at": now,
        "kind": kind,
        "payload": encode(payload, "report of the job"),
    }


def _document(error: JobError) -> dict[str, str]:
    return {"message": error.what, "where": error.where, "fix": error.fix}


def _place(worker: str) -> str:
    if not worker:
        return "(unknown)"
    name = WorkerName.parse(worker)
    return f"on {name.host} (process {name.pid})"
