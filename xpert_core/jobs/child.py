"""The process that runs one job: started by a worker, and gone when the worker is gone.

It is started with ``python -c``, as a child of multiprocessing would run the main script again. The
worker writes one line of JSON into its standard input, then ``cancel`` when the job should stop;
the end of that input means that the worker is dead. The guard (see `process`) acts on that too.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from xpert_core.errors import JobCancelled, JobError, PredictionCancelled, StoreError, XPertError
from xpert_core.jobs.context import JobContext
from xpert_core.store import Store
from xpert_core.store.frames import encode
from xpert_core.store.job_records import Claim

#: Exit statuses, for the worker.
EXIT_ENDED, EXIT_STOPPED, EXIT_LOST, EXIT_UNREPORTED = 0, 3, 4, 5

#: How long the end of a job is tried to be written to a database that does not answer, in seconds.
LAST_WORDS_S = 120.0
#: How long a process of a former attempt may take to go away, in seconds.
FORMER_S = 20.0

Function = Callable[[JobContext, dict[str, Any]], dict[str, Any]]


def main() -> None:
    """Run the job that the worker names and end the process.

    Its order is one line of JSON: ``url`` of the database, ``job`` and ``token`` of the claim,
    ``function`` ("module:name").
    """
    commands = _take_input()
    order = json.loads(commands.readline())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker alone hears Ctrl-C
    store = Store(order["url"])
    claim = Claim(store.jobs.get(order["job"]), order["token"])
    context = JobContext(store, claim, lost=_vanish)
    threading.Thread(target=_listen, args=(commands, context), daemon=True).start()
    status = run(context, claim, order["function"])
    store.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of libraries that do not end must not keep a finished job from ending.
    os._exit(status)


def run(context: JobContext, claim: Claim, path: str) -> int:
    """Run a job's function in this process and write its end.

    Parameters
    ----------
    context : JobContext
    claim : Claim
    path : str
        ``"module:function"``.

    Returns
    -------
    int
        Exit status: ended (result or failure is written), stopped, or unreported.
    """
    claims, folder = context.store.claims, context.folder
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(folder / ".lock", timeout=FORMER_S), context:
            result = _function(path)(context, claim.job.params)
            encode(result, "result of the job")  # refused here, not when it is written
    except Timeout:
        print(f"A former process still works in {folder}.", file=sys.stderr)
        return EXIT_UNREPORTED
    except (JobCancelled, PredictionCancelled):
        return EXIT_STOPPED
    except BaseException as error:
        if context.cancelled():  # whatever a library makes of a stop
            return EXIT_STOPPED
        failure = explained(error)
        return _written(lambda: claims.fail(claim, failure))
    return _written(lambda: claims.finish(claim, result))


def explained(error: BaseException) -> JobError:
    """What ended a job, in words for its user; an unexpected error is printed as well."""
    if isinstance(error, XPertError):
        return JobError(error.what, where=error.where, fix=error.fix)
    traceback.print_exception(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = (
        f"{type(error).__name__}: {str(error)[:300]} ({Path(frame.filename).name}:{frame.lineno})"
    )
    if isinstance(error, MemoryError):
        what, fix = "There was not enough memory.", "Make the job smaller, or free memory."
    elif isinstance(error, OSError):
        what = f"A file could not be read or written: {error.strerror or error}."
        fix = "Check the free space and the permissions of the folders, then try the job again."
    else:
        what = "Something went wrong that this program does not know how to explain."
        fix = "Try the job again; if it happens again, report it with this message."
    return JobError(what, where=where, fix=fix)


def _function(path: str) -> Function:
    module, _, name = path.partition(":")
    function: Function = getattr(importlib.import_module(module), name)
    return function


def _written(write: Callable[[], bool]) -> int:
    """Write the end of the job, again and again while the database does not answer."""
    deadline = time.monotonic() + LAST_WORDS_S
    while True:
        try:
            return EXIT_ENDED if write() else EXIT_LOST
        except StoreError as error:
            if time.monotonic() > deadline:
                print(error, file=sys.stderr)
                return EXIT_UNREPORTED
            time.sleep(1.0)


def _listen(commands: FileIO, context: JobContext) -> None:
    while line := commands.readline():
        if line.strip() == b"cancel":
            context.cancel()
    _vanish()


def _vanish() -> None:
    """End at once, with every process started for the job."""
    os.killpg(0, signal.SIGKILL)


def _take_input() -> FileIO:
    """Standard input as a stream of its own: what the job starts must not read the commands."""
    commands = FileIO(os.dup(0), "r")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return commands
