"""What every worker process of a benchmark or search does first."""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import signal
import threading
import warnings


def start_worker(*, trains_xpert: bool) -> None:
    """One thread, no denormal numbers, quiet; the parent alone hears Ctrl-C, and none outlives it.

    Parameters
    ----------
    trains_xpert : bool
        Whether Lightning will be needed; importing it takes a second.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    # Moments of weights that are hardly ever used shrink to denormal numbers, which are slow: a
    # perceptron on fingerprints took sixteen times as long.
    torch.set_flush_denormal(True)
    if trains_xpert:
        _quieten()


def _quieten() -> None:
    """Lightning tells every fit of its other products; it sets its own level when imported."""
    warnings.filterwarnings("ignore", module="lightning|pytorch_lightning")
    if any(importlib.util.find_spec(n) for n in ("lightning", "pytorch_lightning")):
        from xpert_core.learning.module import pl

        logging.getLogger(pl.__name__).setLevel(logging.ERROR)


def _end_with_parent() -> None:
    """A worker whose parent was killed would train on, then wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
