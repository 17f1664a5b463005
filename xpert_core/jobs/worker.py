"""A worker: takes jobs from the queue, one at a time, and runs each in a child process.

Any number of workers may serve one database, on one machine or several. Whatever kills a worker,
its job is put back: by itself when it can, else by the other workers, or the next one that starts.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xpert_core.errors import JobError, StoreError
from xpert_core.jobs.child import EXIT_LOST, EXIT_STOPPED
from xpert_core.jobs.kinds import function_of
from xpert_core.jobs.process import JobProcess, in_words
from xpert_core.store import Store
from xpert_core.store.job_records import Claim, WorkerName
from xpert_core.store.presence import hold

#: Seconds between looks at the queue, or at whether the running job should stop.
POLL_S = 0.25
#: Seconds between heartbeats, and between looks for dead workers.
BEAT_S = 5.0
#: Seconds to wait for a database that does not answer.
PATIENCE_S = 2.0

_log = logging.getLogger(__name__)


class Worker:
    """Works on the jobs of one database until it is told to stop.

    Parameters
    ----------
    store : Store
    keep_on : callable, optional
        Asked all the time; False stops the worker. A running job is put back then.
    """

    def __init__(self, store: Store, keep_on: Callable[[], bool] = lambda: True) -> None:
        self.name = WorkerName(socket.gethostname(), os.getpid(), secrets.token_hex(8))
        self._store = store
        self._claims = store.claims
        self._keep_on = keep_on
        self._stop = False
        self._next_beat = 0.0

    def stop(self) -> None:
        """Tell it to stop; may be called from a signal handler or another thread."""
        self._stop = True  # no lock: a signal handler must not wait for one

    def run(self, *, once: bool = False) -> int:
        """Work until told to stop; returns the number of jobs taken.

        Parameters
        ----------
        once : bool
            End when no job is waiting.

        Raises
        ------
        StoreError
            The database cannot be used at the start. Later the worker waits until it can.
        """
        taken = 0
        with self._presence():
            while not self._stopping():
                claim = self._next()
                if claim is not None:
                    taken += 1
                    self._work(claim)
                elif once:
                    break
                else:
                    time.sleep(POLL_S)
        return taken

    @contextmanager
    def _presence(self) -> Iterator[None]:
        lock = hold(self._store.jobs.root, self.name)
        try:
            self._claims.enter(self.name)
            self._store.jobs.sweep_folders()
            yield
        finally:
            with suppress(StoreError):
                self._claims.leave(self.name)
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def _stopping(self) -> bool:
        return self._stop or not self._keep_on()

    def _next(self) -> Claim | None:
        """The next job; None also while the database does not answer."""
        try:
            if self._is_time():
                self._claims.beat(self.name, None)
                for job_id in self._claims.recover():
                    _log.warning("job %s was left by a dead worker", job_id)
            return self._claims.claim(self.name)
        except StoreError as error:
            _log.warning("%s", error)
            time.sleep(PATIENCE_S)
            return None

    def _is_time(self) -> bool:
        """Whether the next heartbeat is due; the one after is set."""
        now = time.monotonic()
        if now < self._next_beat:
            return False
        self._next_beat = now + BEAT_S
        return True

    def _work(self, claim: Claim) -> None:
        job = claim.job
        _log.info("job %s (%s) starts, attempt %d", job.id, job.kind, job.attempts)
        try:
            function = function_of(job.kind)
        except JobError as error:
            unknown = error
            self._insist(lambda: self._claims.fail(claim, unknown))
            return
        process = JobProcess(claim, function, self._store.address)
        try:
            ending = self._watch(process, claim)
        finally:
            process.close()
        self._insist(ending)
        _log.info("job %s: the process has ended", job.id)

    def _watch(self, process: JobProcess, claim: Claim) -> Callable[[], object]:
        """Follow a running job; returns what is to be written about its end.

        What it returns changes nothing where the job has written its end itself.
        """
        while (status := process.wait(POLL_S)) is None:
            if self._stopping():
                process.stop()
                return lambda: self._claims.release(claim)
            cancel = self._look_after(claim)
            if cancel is None:
                return lambda: None
            if cancel:
                process.stop()
                return lambda: self._claims.cancelled(claim)
        if status == EXIT_LOST:
            return lambda: None
        if status == EXIT_STOPPED:  # it stopped without being asked
            reason = "it stopped by itself."
            return lambda: self._claims.crashed(claim, reason)
        return lambda: self._claims.crashed(claim, in_words(status))

    def _look_after(self, claim: Claim) -> bool | None:
        """Beat when due; whether the user asked to stop, None when the job is another's now."""
        try:
            if self._is_time() and not self._claims.beat(self.name, claim):
                # Ended by its process a moment ago, or taken over.
                return None
            return self._claims.cancel_requested(claim)
        except StoreError as error:  # the work goes on: it can be reported later
            _log.warning("%s", error)
            return False

    def _insist(self, write: Callable[[], object]) -> None:
        """Write the end of a job; a database that does not answer is tried again a few times."""
        for _ in range(5):
            try:
                write()
                return
            except StoreError as error:
                _log.warning("%s", error)
                time.sleep(PATIENCE_S)


def serve(store: Store, *, once: bool = False, keep_on: Callable[[], bool] = lambda: True) -> int:
    """Run a worker in this process until a signal (SIGTERM, SIGHUP, Ctrl-C) stops it.

    Returns the number of jobs taken; parameters as of `Worker` and `Worker.run`.
    """
    worker = Worker(store, keep_on)
    handled = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):
        handled.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: worker.stop()) for number in handled}
    try:
        return worker.run(once=once)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
