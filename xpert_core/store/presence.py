"""Whether a worker is still there: by a lock that the system drops with it, else by its heartbeat.

A lock on a file is let go when its process ends in whatever way, so that on one machine a death is
seen at once, without mistaking another process with the same number for the dead one.
"""

from __future__ import annotations

import socket
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from xpert_core.store.failures import explained
from xpert_core.store.job_records import WorkerName

#: A worker elsewhere is given up this long after its last heartbeat.
STALE = timedelta(seconds=30)
#: A worker of this machine whose process is there may have been asleep, with the machine.
HUNG = timedelta(minutes=10)


def lock_file(jobs_folder: Path, worker: WorkerName) -> Path:
    """The file that a worker keeps locked while it lives."""
    return jobs_folder / "workers" / f"{worker.token}.lock"


def hold(jobs_folder: Path, worker: WorkerName) -> FileLock:
    """Lock the file of a worker; the lock ends with the process."""
    path = lock_file(jobs_folder, worker)
    with explained("The worker could not start", str(path.parent)):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(path, timeout=10)
        lock.acquire()
    return lock


def is_dead(
    jobs_folder: Path, worker: str | None, heartbeat_at: datetime | None, now: datetime
) -> bool:
    """Whether a worker is gone.

    Parameters
    ----------
    jobs_folder : Path
    worker : str or None
        `WorkerName` as text.
    heartbeat_at : datetime or None
        Its last, on the clock of `now`.
    now : datetime
    """
    if worker is None or heartbeat_at is None:
        return True
    silent = now - heartbeat_at
    name = WorkerName.parse(worker)
    locked = _is_locked(lock_file(jobs_folder, name)) if name.host == socket.gethostname() else None
    if locked is None:
        return silent > STALE
    return silent > HUNG if locked else True


def _is_locked(path: Path) -> bool | None:
    """Whether a process holds the lock; None when there is no such file here."""
    if not path.is_file():
        return None
    try:
        with FileLock(path, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:
        return None
