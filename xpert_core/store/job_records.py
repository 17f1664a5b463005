"""Records of the queue: a job, its events, a worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from xpert_core.errors import JobError

#: Waiting for a worker; being worked on; and the three ways to end.
SUBMITTED, RUNNING, DONE, FAILED, CANCELLED = (
    "submitted", "running", "done", "failed", "cancelled",
)  # fmt: skip
STATUSES = (SUBMITTED, RUNNING, DONE, FAILED, CANCELLED)
#: A job that has ended stays as it is until somebody tries it again or deletes it.
ENDED = (DONE, FAILED, CANCELLED)

LOG, METRIC = "log", "metric"


@dataclass(frozen=True)
class Job:
    """A piece of long work, as it stood when it was read.

    Attributes
    ----------
    id, owner, kind, title : str
    params : dict
        What the job was asked for; its keys depend on `kind`.
    status : str
        One of `STATUSES`.
    done, total : int
        Steps finished and to do; 0 of 0 before the first report.
    stage : str
        What is being done, in words.
    result : dict or None
        What a finished job returned.
    failure : JobError or None
        Why a failed job failed.
    attempts : int
        How often a worker took the job.
    crashes : int
        How often in a row its process died without getting further than before.
    worker : str
        The worker that has it, or had it last: ``"host:pid:token"``.
    cancel_requested : bool
    created_at : datetime
    started_at, heartbeat_at, finished_at : datetime or None
        Of the last attempt.
    """

    id: str
    owner: str
    kind: str
    title: str
    params: dict[str, Any]
    status: str
    done: int
    total: int
    stage: str
    result: dict[str, Any] | None
    failure: JobError | None
    attempts: int
    crashes: int
    worker: str
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.status in ENDED

    @property
    def fraction(self) -> float:
        """Share of the steps that are finished, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


@dataclass(frozen=True)
class JobEvent:
    """A line of a job's log, or its numbers at one moment.

    Attributes
    ----------
    number : int
        Grows from event to event; not without gaps.
    attempt : int
    created_at : datetime
    kind : str
        ``"log"`` or ``"metric"``.
    payload : dict
        ``{"text": ...}`` of a log line; the values of a metric by name.
    """

    number: int
    attempt: int
    created_at: datetime
    kind: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """The right of one worker to one attempt at a job.

    Attributes
    ----------
    job : Job
    token : str
        Named by every write of this attempt; the database refuses it once another attempt began.
    """

    job: Job
    token: str


@dataclass(frozen=True)
class WorkerName:
    """Identity of a worker process.

    Attributes
    ----------
    host : str
    pid : int
    token : str
        Drawn at its start, because process ids are used again.
    """

    host: str
    pid: int
    token: str

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.token}"

    @classmethod
    def parse(cls, text: str) -> WorkerName:
        """Undo ``str``."""
        host, pid, token = text.rsplit(":", 2)
        return cls(host, int(pid), token)
