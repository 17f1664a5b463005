"""Ctrl-C where Python would drop it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from processes import hear_ctrl_c

PROGRAM = """
import signal, sys, time, weakref
from xpert_core.cli.interrupt import hear_every_interrupt

class Something:
    pass

def gone(_):
    signal.raise_signal(signal.SIGINT)  # as if it came while the callback runs

if sys.argv[1] == "heard":
    hear_every_interrupt()
thing = Something()
watch = weakref.ref(thing, gone)
del thing
print("the callback is over", flush=True)
{wait}
print("to its end", flush=True)
"""
WAITING = "time.sleep(3)"
WORKING = "ended = time.monotonic() + 3\nwhile time.monotonic() < ended:\n    pass"


def outcome(wait: str, mode: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(wait=wait), mode],
        capture_output=True, text=True, preexec_fn=hear_ctrl_c, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("wait", [WAITING, WORKING])
def test_a_dropped_ctrl_c_is_sent_again(wait: str) -> None:
    ended = outcome(wait, "heard")
    assert "the callback is over" in ended.stdout and "to its end" not in ended.stdout
    assert ended.returncode == -signal.SIGINT
    assert "Exception ignored" not in ended.stderr


def test_python_alone_drops_it() -> None:
    assert "to its end" in outcome(WORKING, "not").stdout


def test_other_exceptions_nobody_can_catch_are_still_told() -> None:
    program = PROGRAM.replace("signal.raise_signal(signal.SIGINT)", "raise ValueError('odd')")
    ended = subprocess.run(
        [sys.executable, "-c", program.format(wait=""), "heard"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "Exception ignored" in ended.stderr and "odd" in ended.stderr
