"""Worker processes of the tests, which know the kinds of jobs in `job_kinds`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from processes import hear_ctrl_c

_PROGRAM = """
import sys
import job_kinds
from xpert_core.cli import main
from xpert_core.jobs import KINDS
KINDS.update(job_kinds.KINDS)
sys.argv[:] = ["xpert", "worker", *sys.argv[1:]]
main()
"""


class WorkerProcess:
    """``xpert worker`` in a process of its own; killed at the end of the block, if not before."""

    def __init__(self, url: str, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "--database", url, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            preexec_fn=hear_ctrl_c,
        )

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal and wait; returns exit status and output."""
        self._process.send_signal(number)
        output, _ = self._process.communicate(timeout=30)
        return self._process.returncode, output

    def wait(self) -> tuple[int, str]:
        """Wait until it ends by itself."""
        output, _ = self._process.communicate(timeout=120)
        return self._process.returncode, output


def until(condition: Callable[[], object], seconds: float = 60.0) -> float:
    """Wait until `condition` holds; returns the seconds it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it did not come true in time"
        time.sleep(0.02)
    return time.monotonic() - begun


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        return stat.rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
