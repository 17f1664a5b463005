"""Ctrl-C that is never lost, and never brings the process down."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from types import FrameType

_AGAIN_AFTER_S = 0.05
"""Long enough to be out of the finaliser by then, too short for a person to notice."""
_LONGEST_S = 20.0
"""An import that takes longer hangs: a crash is better than a program that does not listen."""
_IMPORT = "<frozen importlib._bootstrap>"
"""File of a frame that is below every module being executed."""


class _Waiting:
    """A Ctrl-C that is to be sent again; several, pressed in the same import, are one."""

    since: float | None = None
    sent_again = False


def hear_every_interrupt() -> None:
    """Let Ctrl-C raise KeyboardInterrupt only where somebody can catch it, and send it again else.

    Two places cannot: a finaliser or a weak reference's callback, where Python prints "Exception
    ignored" and goes on, so that the command would run to its end; and a library that is being
    imported, where some swallow it and where PyTorch's C++ ends the process with SIGABRT.

    Where Ctrl-C is ignored or handled already, it stays so.
    """
    others = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt) and not sys.is_finalizing():
            _send_again()
        else:
            others(unraisable)

    sys.unraisablehook = hook
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def raise_waiting() -> None:
    """Raise a Ctrl-C that waits to be sent again: for code that replaces or ends the process."""
    if _Waiting.since is not None:
        _Waiting.since = None
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    waited = 0.0 if _Waiting.since is None else time.monotonic() - _Waiting.since
    if waited < _LONGEST_S and _importing(frame):
        _send_again()
    else:
        _Waiting.since = None
        signal.default_int_handler(number, frame)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            return True
        frame = frame.f_back
    return False


def _send_again() -> None:
    _Waiting.since = _Waiting.since or time.monotonic()
    if not _Waiting.sent_again:
        _Waiting.sent_again = True
        # Not from here: this, too, is a place where it would be dropped. Nor by threading's own
        # threads, whose start takes locks that the interrupted code may hold.
        _thread.start_new_thread(_interrupt_main_soon, ())


def _interrupt_main_soon() -> None:
    time.sleep(_AGAIN_AFTER_S)
    _Waiting.sent_again = False
    if _Waiting.since is None:
        return  # raised in the meantime: a second one would cut the cleaning up
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # wakes it from a wait as well
    else:
        _thread.interrupt_main()
