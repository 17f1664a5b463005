"""Kill the worker of a training ten times at random moments, and compare with no kill.

Usage: ``python -m training.stress_jobs [--kills 10] [--seed 0]``. Prints JSON: the moments of the
kills, the attempts, and the largest difference of any validation score between the job that was
killed and the one that was not (0: the same numbers), whether the weights are the same, and what
was found half-written (nothing, it is hoped).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from xpert_core.jobs import submit
from xpert_core.learning.resume import PROGRESS, STATE
from xpert_core.store import Store

DATA = Path(__file__).parents[1] / "tests" / "data" / "l1000_small.safetensors"
RECIPE: dict[str, Any] = {
    "name": "stress",
    "data": str(DATA),
    "model": {"d_model": 16, "n_heads": 2, "base_layers": "SA", "pert_layers": "CA"},
    "valid": 0.2,
    "test": 0.2,
    "threads": 1,
}
_WORKER = "from xpert_core.cli import main; main()"


def start_worker(url: str) -> subprocess.Popen[bytes]:
    """``xpert worker`` on a database."""
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, "worker", "--database", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def damage(store: Store, database: Path, job_id: str) -> list[str]:
    """What is half-written: a database that contradicts itself, a state that cannot be read."""
    found = []
    with sqlite3.connect(database) as connection:
        found += [
            str(row) for row in connection.execute("PRAGMA integrity_check") if row != ("ok",)
        ]
        found += [str(row) for row in connection.execute("PRAGMA foreign_key_check")]
    connection.close()
    run = store.jobs.folder(job_id) / "run"
    for name in (STATE, PROGRESS):
        path = run / name
        try:
            if path.exists() and name == STATE:
                with safe_open(path, "pt") as stream:
                    for key in stream.keys():  # noqa: SIM118 - not a mapping
                        stream.get_tensor(key)
            elif path.exists():
                json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SafetensorError) as error:
            found.append(f"{path.name}: {error}")
    return found


def wait_for_a_moment(store: Store, job_id: str, attempt: int, rng: random.Random) -> None:
    """Wait into an attempt: into its start, or some epochs and a part of one further."""
    while store.jobs.get(job_id).attempts < attempt and not store.jobs.get(job_id).ended:
        time.sleep(0.05)
    epochs = rng.randint(0, 4)
    until = store.jobs.get(job_id).done + epochs
    while store.jobs.get(job_id).done < until and not store.jobs.get(job_id).ended:
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 1.5 if epochs else 6))


def killed_run(
    store: Store, url: str, database: Path, recipe: Path, kills: int, rng: random.Random
) -> tuple[str, list[dict[str, Any]], list[str]]:
    """A training whose worker is killed; returns the job, the kills and what was damaged."""
    job_id = submit(store, "train", {"config": str(recipe)}, title="killed")
    moments: list[dict[str, Any]] = []
    damaged: list[str] = []
    worker = start_worker(url)
    for attempt in range(1, kills + 1):
        wait_for_a_moment(store, job_id, attempt, rng)
        job = store.jobs.get(job_id)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        moments.append({"attempt": attempt, "epoch": job.done, "stage": job.stage})
        damaged += damage(store, database, job_id)
        worker = start_worker(url)
    while not store.jobs.get(job_id).ended:
        time.sleep(0.2)
    worker.send_signal(signal.SIGTERM)
    worker.wait()
    return job_id, moments, damaged


def history(store: Store, job_id: str) -> list[dict[str, float]]:
    """Scores of every epoch, from the state of the training."""
    path = store.jobs.folder(job_id) / "run" / PROGRESS
    entries: list[dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))["history"]
    return entries


def weights(store: Store, job_id: str) -> dict[str, torch.Tensor]:
    """The last weights, the best ones, and what the optimizer remembers."""
    return load_file(store.jobs.folder(job_id) / "run" / STATE)


def main() -> None:
    """Run both trainings and print how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "xpert.db"
        url = f"sqlite:///{database}"
        recipe = Path(folder) / "recipe.yaml"
        epochs = {"max_epochs": options.epochs, "patience": options.epochs}
        recipe.write_text(yaml.safe_dump({**RECIPE, **epochs}), encoding="utf-8")
        store = Store(url)
        rng = random.Random(options.seed)
        killed, moments, damaged = killed_run(store, url, database, recipe, options.kills, rng)
        whole = submit(store, "train", {"config": str(recipe)}, title="not killed")
        worker = start_worker(url)
        while not store.jobs.get(whole).ended:
            time.sleep(0.2)
        worker.send_signal(signal.SIGTERM)
        worker.wait()
        jobs = [store.jobs.get(job_id) for job_id in (killed, whole)]
        pairs = zip(history(store, killed), history(store, whole), strict=True)
        differences = [abs(a[name] - b[name]) for a, b in pairs for name in a]
        ours, theirs = weights(store, killed), weights(store, whole)
        print(
            json.dumps(
                {
                    "kills": moments,
                    "attempts": jobs[0].attempts,
                    "status": [job.status for job in jobs],
                    "epochs": len(history(store, killed)),
                    "largest_difference": max(differences),
                    "same_weights": ours.keys() == theirs.keys()
                    and all(torch.equal(v, theirs[k]) for k, v in ours.items()),
                    "damaged": damaged,
                    "jobs": len(store.jobs.find()),
                },
                indent=1,
            )
        )
        store.close()


if __name__ == "__main__":
    main()
