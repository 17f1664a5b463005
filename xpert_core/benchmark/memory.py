"""The most memory a task held, where the system tells it apart from the tasks before it."""

from __future__ import annotations

import resource
from pathlib import Path

_RESET_PEAK = "5"
"""Written to ``clear_refs``, sets the peak to what is held now (Linux 4.0, proc(5))."""


def reset_peak() -> bool:
    """Forget this process's peak so far; False where the system has no such thing."""
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return _high_water_kib() is not None


def peak_mib() -> float:
    """Most resident memory (MiB) since `reset_peak`, or since the process began."""
    kib = _high_water_kib()
    return (kib if kib is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def _high_water_kib() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
