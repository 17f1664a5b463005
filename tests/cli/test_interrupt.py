"""Ctrl-C where Python would drop it, or a library would crash of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
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


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no such part")
@pytest.mark.parametrize("mode", ["heard", "not"])
def test_pytorch_does_not_crash_of_it(mode: str, tmp_path: Path) -> None:
    """Its C++ calls Python while it is imported; PyTorch 2.13 aborts of what is raised there."""
    ended = outcome(IN_PYTORCH, WORKING, mode, tmp_path)
    assert ("past it" in ended.stdout) == (mode == "heard")
    assert "to its end" not in ended.stdout
    assert ended.returncode == -signal.SIGINT or mode == "not"


IMPATIENT = """
import os, signal, threading, time
for k in range(4):
    threading.Timer(0.1 * k, os.kill, (os.getpid(), signal.SIGINT)).start()
ended = time.monotonic() + 1
while time.monotonic() < ended:
    pass
"""
CLEANING_UP = """
try:
    import slow
    time.sleep(1)
except BaseException:
    time.sleep(0.5)
    print("cleaned up", flush=True)
    raise
"""


def test_pressed_several_times_in_an_import_it_interrupts_once(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(IMPATIENT)
    ended = outcome(CLEANING_UP, "", "heard", tmp_path)
    assert ended.returncode == -signal.SIGINT and "cleaned up" in ended.stdout


def test_an_import_without_end_is_interrupted_after_all(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(IMPATIENT.replace("+ 1", "+ 30"))
    soon = "import xpert_core.cli.interrupt as it\nit._LONGEST_S = 1\nimport slow"
    ended = outcome(soon, "", "heard", tmp_path)
    assert ended.returncode == -signal.SIGINT and "past it" not in ended.stdout


def test_one_that_waits_is_raised_before_the_process_is_replaced(tmp_path: Path) -> None:
    before = "import swallows\nfrom xpert_core.cli.interrupt import raise_waiting\n"
    ended = outcome(before + "raise_waiting()", "os._exit(0)", "heard", tmp_path)
    assert ended.returncode == -signal.SIGINT and "past it" not in ended.stdout


def test_ctrl_c_before_a_command_begins_ends_quietly() -> None:
    program = (
        "import signal, sys, types\n"
        "stub = types.ModuleType('xpert_core.cli.application')\n"
        "stub.application = lambda: signal.raise_signal(signal.SIGINT)\n"
        "sys.modules['xpert_core.cli.application'] = stub\n"
        "from xpert_core.cli import main\nmain()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, preexec_fn=hear_ctrl_c, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 130 and ended.stderr == ""


def test_other_exceptions_nobody_can_catch_are_still_told(tmp_path: Path) -> None:
    program = PROGRAM.replace("signal.raise_signal(signal.SIGINT)", "raise ValueError('odd')")
    ended = subprocess.run(
        [sys.executable, "-c", program.format(begin=IN_A_CALLBACK, wait=""), "heard"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "Exception ignored" in ended.stderr and "odd" in ended.stderr
