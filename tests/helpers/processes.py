"""Child processes of the tests, and limits of this one."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def hear_ctrl_c() -> None:
    """For `preexec_fn`: a shell that runs the tests in the background makes children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def at_work(process: subprocess.Popen[str], seconds: float) -> None:
    """Wait until a child has used so much processor time, however busy the machine is."""
    ticks, ended = seconds * os.sysconf("SC_CLK_TCK"), time.monotonic() + 120
    while process.poll() is None and time.monotonic() < ended:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        if int(fields[11]) + int(fields[12]) >= ticks:
            return
        time.sleep(0.1)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: what a full disk says, for real."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
