"""A worker's handle on the child process that runs its job."""

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

# The child finds the very modules this process uses, installed or not.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from xpert_core.jobs.child import main; main(int(sys.argv[2]))"
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
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path), str(os.getpid())],
            stdin=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # so that it can be killed with all it started
        )
        self._say(json.dumps(order))

    def wait(self, seconds: float) -> int | None:
        """Exit status, or None when it is still at work after `seconds`."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def stop(self) -> int:
        """Ask it to stop, and see to it; returns the exit status."""
        self._say("cancel")
        if self.wait(POLITE_S) is None:
            self._signal(signal.SIGTERM)
            if self.wait(TERMINATE_S) is None:
                self.kill()
        return self._process.wait()

    def kill(self) -> None:
        """End it, and every process it started, at once."""
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.wait()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it is gone: its exit status tells
            self._process.stdin.write(f"{line}\n".encode())

    def _signal(self, number: int) -> None:
        # Its group outlives it until the last process of it has gone, and is not used again before.
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
        else:
            self._process.terminate()


def in_words(status: int) -> str:
    """What an exit status says: ``"its process was killed (signal 9), ..."``."""
    if status == -getattr(signal, "SIGKILL", 9):
        return "its process was killed by the system (signal 9), most often for lack of memory."
    if status < 0:
        return f"its process crashed ({signal.Signals(-status).name})."
    return f"its process ended without an answer (exit status {status})."
