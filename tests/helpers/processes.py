"""Child processes of the tests."""

from __future__ import annotations

import signal


def hear_ctrl_c() -> None:
    """For `preexec_fn`: a shell that runs the tests in the background makes children ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
