"""Ctrl-C that is never lost."""

from __future__ import annotations

import _thread
import signal
import sys
import threading

_AGAIN_AFTER_S = 0.05
"""Long enough to be out of the finaliser by then, too short for a person to notice."""


def hear_every_interrupt() -> None:
    """Send Ctrl-C again where Python drops it.

    A signal that arrives while a finaliser or a weak reference's callback runs raises
    KeyboardInterrupt there, where nobody can catch it: Python prints "Exception ignored" and goes
    on, and the command would run to its end.
    """
    others = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt) and not sys.is_finalizing():
            # Not from here: this, too, is a place where it would be dropped.
            timer = threading.Timer(_AGAIN_AFTER_S, _interrupt_main)
            timer.daemon = True
            timer.start()
        else:
            others(unraisable)

    sys.unraisablehook = hook


def _interrupt_main() -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # wakes it from a wait as well
    else:
        _thread.interrupt_main()
