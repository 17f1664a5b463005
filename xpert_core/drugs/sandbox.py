"""Untrusted structures are worked on in child processes with a time and a memory limit.

Parsing or embedding a structure somebody typed can run for hours, take all memory or crash the
interpreter. `run_limited` does it in a child that is killed at the limit. Children are kept and
reused: they are started with ``python -c``, not by multiprocessing, because a spawned
multiprocessing child would run the dashboard's main script again, and a forked one is unsafe
beside threads.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from io import RawIOBase
from typing import Any, cast

from xpert_core import errors
from xpert_core.drugs._messages import read_message, write_message
from xpert_core.drugs._worker import function_path
from xpert_core.drugs.records import Drug
from xpert_core.errors import DrugError

MEMORY_BYTES = 4 * 1024**3
"""Address space a child may use."""
START_LIMIT_S = 120.0
"""Seconds a child may take to start (a cold disk on a busy machine)."""
MAX_CHILDREN = max(2, os.cpu_count() or 1)

# The child finds the very modules this process uses, installed or not.
_START = (
    # Ctrl-C reaches the whole group; the parent ends this process, by closing its input.
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from xpert_core.drugs._worker import main; main(int(sys.argv[2]))"
)

_log = logging.getLogger(__name__)


class LimitError(DrugError):
    """Work on a structure that was stopped: out of time or memory, or its process died."""


class Worker:
    """One child process, used by one thread at a time.

    Parameters
    ----------
    memory_bytes : int
        Address space the child may use; 0 for no limit. Not enforced on Windows.

    Raises
    ------
    DrugError
        When the child does not start.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # a lock inside a buffered stream could be held during a fork
            env={**os.environ, **single},
        )
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._requests = cast(RawIOBase, self._process.stdin)
        threading.Thread(
            target=_read_all, args=(self._process.stdout, self._answers), daemon=True
        ).start()
        if not self._started():
            self.kill()
            raise DrugError(
                "The helper process that reads chemical structures did not start.",
                where=f"exit status {self._process.returncode}",
                fix="Free memory on this machine and try again; reinstall if it happens again.",
            )

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child can take a request."""
        return self._process.poll() is None

    def run(self, function: Callable[..., Any], *args: Any, timeout_s: float) -> Any:
        """As `run_limited`, in this child; afterwards `alive` tells whether it can be reused."""
        path = function_path(function)
        try:
            request = {"function": path, "args": list(args), "timeout_s": float(timeout_s)}
            with contextlib.suppress(BrokenPipeError):  # the missing answer tells it
                write_message(self._requests, request)
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.kill()
            raise LimitError(
                "Working on this chemical structure took too long and was stopped.",
                where=f"{_describe(args)}, limit {timeout_s:g} s",
                fix="Check the structure, or use a smaller one.",
            ) from None
        except BaseException:
            self.kill()  # an unread answer would be taken for that of the next request
            raise
        if answer is None:
            self.kill()
        return _open(answer, path, args)

    def _started(self) -> bool:
        try:
            return self._answers.get(timeout=START_LIMIT_S) is not None
        except queue.Empty:
            return False

    def kill(self) -> None:
        """End the child at once."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let an idle child end by itself; kill it when it does not."""
        self._requests.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self.kill()


def _read_all(stream: RawIOBase, answers: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    with stream:
        while (message := read_message(stream)) is not None:
            answers.put(message)
    answers.put(None)


def _describe(args: Sequence[Any]) -> str:
    words = [a.name if isinstance(a, Drug) else a for a in args if isinstance(a, (str, Drug))]
    text = words[0] if words else "the structure"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _open(answer: dict[str, Any] | None, path: str, args: Sequence[Any]) -> Any:
    """Result carried by an answer, or the error it carries, raised."""
    if answer is None or "memory" in answer:
        cause = "ran out of memory" if answer else "ended without an answer (often lack of memory)"
        raise LimitError(
            f"This chemical structure could not be worked on: the helper process {cause}.",
            where=_describe(args),
            fix="Check the structure, or use a smaller one.",
        )
    if "error" in answer:
        kind = getattr(errors, answer["kind"], DrugError)
        raise kind(**answer["error"])
    if "crash" in answer:
        _log.error("%s failed in the sandbox\n%s", path, answer["trace"])
        raise DrugError(
            "This chemical structure could not be worked on because of an unexpected problem.",
            where=f"{_describe(args)} ({answer['crash']})",
            fix="Check the structure; if it is right, report it with this message.",
        )
    return answer["result"]


class _Pool:
    """Idle children, and how many may exist at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._places = threading.BoundedSemaphore(MAX_CHILDREN)

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Worker]:
        with self._places:
            worker = self._take() or Worker()
            try:
                yield worker
            finally:
                if worker.alive:
                    with self._lock:
                        self._idle.append(worker)

    def _take(self) -> Worker | None:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
        return None

    def close(self) -> None:
        while worker := self._take():
            worker.close()


_pool = _Pool()


def _forget_children() -> None:
    """A forked process must not talk through its parent's pipes."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_children)
atexit.register(lambda: _pool.close())


def run_limited(function: Callable[..., Any], *args: Any, timeout_s: float) -> Any:
    """Call ``function(*args)`` in a child process that is killed at the limit.

    Parameters
    ----------
    function : callable
        Top-level function of the ``xpert_core.drugs`` package.
    *args
        Text, numbers, lists, tuples, dictionaries, NumPy arrays or drug records; the result must
        be one of these too.
    timeout_s : float
        Seconds of wall-clock time allowed, not counting the start of a child.

    Returns
    -------
    object
        What the function returned.

    Raises
    ------
    XPertError
        The error the function raised, unchanged.
    LimitError
        When the limit was reached, or the child died or ran out of memory.
    DrugError
        When the function failed in another way, or no child could be started.
    TypeError
        When the function or an argument cannot be sent to the child.
    """
    with _pool.borrow() as worker:
        return worker.run(function, *args, timeout_s=timeout_s)


def warm_up() -> None:
    """Start a child ahead of the first use, so that a user does not wait for it."""
    with _pool.borrow():
        return
