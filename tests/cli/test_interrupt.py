"""Ctrl-C where Python would drop it, or a library would crash of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

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
{begin}
print("past it", flush=True)
{wait}
print("to its end", flush=True)
"""
IN_A_CALLBACK = "thing = Something()\nwatch = weakref.ref(thing, gone)\ndel thing"
IN_AN_IMPORT = "import swallows"
WAITING = "time.sleep(3)"
WORKING = "ended = time.monotonic() + 3\nwhile time.monotonic() < ended:\n    pass"


def outcome(begin: str, wait: str, mode: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # As libraries do that try what is there: whatever comes, they go on.
    (folder / "swallows.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept BaseException:\n"
        "    print('swallowed')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(begin=begin, wait=wait), mode],
        capture_output=True, text=True, preexec_fn=hear_ctrl_c, check=False, timeout=60,
        cwd=folder,
    )  # fmt: skip


@pytest.mark.parametrize("wait", [WAITING, WORKING])
@pytest.mark.parametrize("begin", [IN_A_CALLBACK, IN_AN_IMPORT])
def test_a_dropped_ctrl_c_is_sent_again(begin: str, wait: str, tmp_path: Path) -> None:
    ended = outcome(begin, wait, "heard", tmp_path)
    assert "past it" in ended.stdout and "to its end" not in ended.stdout
    assert "swallowed" not in ended.stdout
    assert ended.returncode == -signal.SIGINT
    assert "Exception ignored" not in ended.stderr


@pytest.mark.parametrize("begin", [IN_A_CALLBACK, IN_AN_IMPORT])
def test_python_alone_drops_it(begin: str, tmp_path: Path) -> None:
    assert "to its end" in outcome(begin, WORKING, "not", tmp_path).stdout


def test_a_ctrl_c_that_is_ignored_stays_so(tmp_path: Path) -> None:
    ignored = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nhear_every_interrupt()\n"
    ended = outcome(ignored + "signal.raise_signal(signal.SIGINT)", "", "not", tmp_path)
    assert "to its end" in ended.stdout and ended.returncode == 0


IN_PYTORCH = """
class InItsStart:
    began = sent = False

    def __call__(self, frame, event, argument):
        if event == "c_call" and argument.__name__ == "_c10d_init":
            self.began = True
        elif self.began and not self.sent and event == "call":
            self.sent = True
            signal.raise_signal(signal.SIGINT)

sys.setprofile(InItsStart())
import torch
"""


@pytest.mark.parametrize(("mode", "status"), [("heard", signal.SIGINT), ("not", signal.SIGABRT)])
def test_pytorch_does_not_crash_of_it(mode: str, status: int, tmp_path: Path) -> None:
    """Its C++ calls Python while it is imported, and what is raised there ends the process."""
    ended = outcome(IN_PYTORCH, WORKING, mode, tmp_path)
    assert ended.returncode == -status
    assert ("past it" in ended.stdout) == (mode == "heard")
    assert "to its end" not in ended.stdout


def test_other_exceptions_nobody_can_catch_are_still_told(tmp_path: Path) -> None:
    program = PROGRAM.replace("signal.raise_signal(signal.SIGINT)", "raise ValueError('odd')")
    ended = subprocess.run(
        [sys.executable, "-c", program.format(begin=IN_A_CALLBACK, wait=""), "heard"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "Exception ignored" in ended.stderr and "odd" in ended.stderr
