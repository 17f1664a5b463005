"""A worker's handle on the child process that runs its job, and the guard beside it.

Job and all processes it starts are one process group. A guard, a process that does nothing but
wait for the end of its input, leads the group and kills it when the worker is gone in whatever way:
also when the job is deep in a computation, and with what the job itself has started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

from xpert_core.store.job_records import Claim

#: A job that is told to stop has this long until it is terminated, then killed, in seconds. The
#: sum and the worker's poll stay below the two seconds within which a cancel takes effect.
POLITE_S, TERMINATE_S = 0.8, 0.3

_GUARD = "import os, signal, sys; sys.stdin.buffer.read(); os.killpg(0, signal.SIGKILL)"

# The child finds the very modules this process uses, installed or not.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from xpert_core.jobs.child import main; main()"
)


class JobProcess:
    """One child process at work on one claim.

    Parameters
    ----------
    claim : Claim
    function : str
        ``"module:function"`` of the job's kind.
    url : str
        Address of the database, with its password: it goes through a pipe, not the command line.
    """

    def __init__(self, claim: Claim, function: str, url: str) -> None:
        order = {"url": url, "job": claim.job.id, "token": claim.token, "function": function}
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD], stdin=subprocess.PIPE, process_group=0
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            bufsize=0,
            process_group=self._guard.pid,
        )
        self._say(json.dumps(order))

    def wait(self, seconds: float) -> int | None:
        """Exit status, or None when it is still at work after `seconds`."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def stop(self) -> None:
        """Ask it to stop, then less kindly; `close` sees to it."""
        self._say("cancel")
        if self.wait(POLITE_S) is None:
            self._process.terminate()
            self.wait(TERMINATE_S)

    def close(self) -> None:
        """End it, and every process it started, at once."""
        # The number of the group is not used again before its leader has been waited for.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        for process in (self._process, self._guard):
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it is gone: its exit status tells
            self._process.stdin.write(f"{line}\n".encode())


def in_words(status: int) -> str:
    """What an exit status says: ``"its process was killed by the system (signal 9), ..."``."""
    if status == -signal.SIGKILL:
        return "its process was killed by the system (signal 9), most often for lack of memory."
    if status < 0:
        return f"its process crashed ({signal.Signals(-status).name})."
    return f"its process ended without an answer (exit status {status})."
