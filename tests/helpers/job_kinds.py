"""Kinds of jobs for the tests: real work that keeps checkpoints, and work that misbehaves."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from xpert_core.errors import DataError
from xpert_core.files import write_bytes_atomic
from xpert_core.jobs.context import JobContext

KINDS = {
    name: f"job_kinds:{name}"
    for name in ("iterate", "sleep", "deaf", "die", "fail", "crash", "say")
}


def iterate(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Logistic map of many points: a lost, doubled or half step changes every digit."""
    state = context.folder / "state.json"
    rng = np.random.default_rng(params["seed"])
    done, points = 0, rng.uniform(0.2, 0.8, 50)
    if state.is_file():
        kept = json.loads(state.read_text())
        done, points = kept["done"], np.array(kept["points"])
        context.log(f"going on from step {done}")
    while done < params["steps"]:
        context.check()
        points = 3.9 * points * (1 - points)
        done += 1
        kept = {"done": done, "points": points.tolist()}
        write_bytes_atomic(state, json.dumps(kept).encode())
        context.progress(done, params["steps"], f"step {done}")
        context.metric(step=done, mean=points.mean(), undefined=float("nan"))
        time.sleep(params.get("pause", 0.0))
    return {"mean": points.mean(), "steps": done}


def say(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Ends at once."""
    context.log(f"attempt {context.attempt} for {context.owner}")
    return {"said": params.get("text", "")}


def sleep(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Waits, and stops when asked."""
    context.progress(0, 1, "sleeping")
    for _ in range(6000):
        context.check()
        time.sleep(0.01)
    return {}


def deaf(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Never asks whether it should stop, and starts a process of its own that does not either."""
    import subprocess

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(params["pids"]).write_text(f"{os.getpid()} {child.pid}")
    while True:
        time.sleep(60)


def die(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Killed by the system, as for lack of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def fail(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Refuses its input."""
    context.log("looking at the pairs")
    raise DataError("There are too few pairs.", where="3 pairs", fix="Add pairs.")


def crash(context: JobContext, params: dict[str, Any]) -> dict[str, Any]:
    """Has a defect."""
    raise ZeroDivisionError("nobody expected this")
