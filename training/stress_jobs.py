"""Kill the worker of a job ten times at random moments, and compare with no kill.

Usage: ``python -m training.stress_jobs [--kind train|finetune] [--kills 10] [--seed 0]``. Prints
JSON: the moments of the kills, the attempts, how the job that was killed differs from the one that
was not (training: every validation score and the weights; fine-tuning: every number of the
comparison, the validation score and the weights), how many models each registered, and what was
found half-written (nothing, it is hoped).
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
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from xpert_core.cohorts import paired_example_path, read_cohort, to_pairs
from xpert_core.genes import load_panel
from xpert_core.jobs import submit
from xpert_core.learning.resume import PROGRESS, STATE
from xpert_core.store import Store
from xpert_core.store.registered import SHIPPED

DATA = Path(__file__).parents[1] / "tests" / "data" / "l1000_small.safetensors"
RECIPE: dict[str, Any] = {
    "name": "stress",
    "data": str(DATA),
    "model": {"d_model": 16, "n_heads": 2, "base_layers": "SA", "pert_layers": "CA"},
    "valid": 0.2,
    "test": 0.2,
    "threads": 1,
}
#: Patients of the paired example that are fine-tuned on.
PATIENTS = 12
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
    """What is half-written: a database that contradicts itself, a file that cannot be read."""
    found = []
    with sqlite3.connect(database) as connection:
        found += [
            str(row) for row in connection.execute("PRAGMA integrity_check") if row != ("ok",)
        ]
        found += [str(row) for row in connection.execute("PRAGMA foreign_key_check")]
    connection.close()
    for path in store.jobs.folder(job_id).rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(store.jobs.folder(job_id)).parts):
            continue  # what is being written has such a name until it is whole
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, "pt") as stream:
                    for key in stream.keys():  # noqa: SIM118 - not a mapping
                        stream.get_tensor(key)
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SafetensorError) as error:
            found.append(f"{path.name}: {error}")
    return found


def wait_for_a_moment(
    store: Store, job_id: str, attempt: int, steps: int, rng: random.Random
) -> None:
    """Wait into an attempt: into its start, or some steps and a part of one further."""
    while store.jobs.get(job_id).attempts < attempt and not store.jobs.get(job_id).ended:
        time.sleep(0.05)
    further = rng.randint(0, steps)
    until = store.jobs.get(job_id).done + further
    while store.jobs.get(job_id).done < until and not store.jobs.get(job_id).ended:
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 1.5 if further else 6))


def killed_run(
    store: Store, database: Path, job_id: str, kills: int, steps: int, rng: random.Random
) -> tuple[list[dict[str, Any]], list[str]]:
    """Do a job with workers that are killed; returns the kills and what was damaged."""
    url = f"sqlite:///{database}"
    moments: list[dict[str, Any]] = []
    damaged: list[str] = []
    worker = start_worker(url)
    for attempt in range(1, kills + 1):
        wait_for_a_moment(store, job_id, attempt, steps, rng)
        job = store.jobs.get(job_id)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        moments.append({"attempt": attempt, "step": job.done, "stage": job.stage})
        damaged += damage(store, database, job_id)
        worker = start_worker(url)
    finish(store, job_id, worker)
    return moments, damaged


def finish(store: Store, job_id: str, worker: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a job, and end its worker."""
    while not store.jobs.get(job_id).ended:
        time.sleep(0.2)
    worker.send_signal(signal.SIGTERM)
    worker.wait()


def train_params(store: Store, folder: Path, epochs: int) -> dict[str, Any]:
    """Parameters of a small training."""
    recipe = folder / "recipe.yaml"
    settings = {"max_epochs": epochs, "patience": epochs}
    recipe.write_text(yaml.safe_dump({**RECIPE, **settings}), encoding="utf-8")
    return {"config": str(recipe)}


def finetune_params(store: Store, folder: Path, epochs: int) -> dict[str, Any]:
    """Parameters of a fine-tuning of the shipped model on some patients of the example."""
    with paired_example_path().open("rb") as stream:
        content = b"".join(islice(stream, 1 + 2 * PATIENTS))
    pairs = to_pairs(read_cohort(content, filename="some.csv"), load_panel())
    config = {"max_epochs": epochs, "patience": epochs, "threads": 1, "accelerator": "cpu"}
    return {"pairs_id": store.pairs.save(pairs), "config": config, "folds": 2}


def compare_trainings(store: Store, killed: str, whole: str) -> dict[str, Any]:
    """Scores of every epoch, the last weights, the best ones, and the optimizer's state."""
    run = {job_id: store.jobs.folder(job_id) / "run" for job_id in (killed, whole)}
    ours, theirs = (
        json.loads((run[job_id] / PROGRESS).read_text(encoding="utf-8"))["history"]
        for job_id in (killed, whole)
    )
    differences = [abs(a[n] - b[n]) for a, b in zip(ours, theirs, strict=True) for n in a]
    return {
        "epochs": len(ours),
        "largest_difference": max(differences),
        "same_weights": same_weights(run[killed] / STATE, run[whole] / STATE),
    }


def compare_finetunings(store: Store, killed: str, whole: str) -> dict[str, Any]:
    """Numbers of the comparison, validation score, and weights of the registered models."""
    results = [store.jobs.get(job_id).result or {} for job_id in (killed, whole)]
    numbers = [numbers_of(result["comparison"]) for result in results]
    models = [store.registry.get(result["model_id"]) for result in results]
    valid = [model.card["validation_pcc"] for model in models]
    return {
        "numbers": len(numbers[0]),
        "largest_difference": max(abs(a - b) for a, b in zip(*numbers, strict=True)),
        "validation_pcc": valid,
        "same_weights": same_weights(*(m.folder / "model.safetensors" for m in models)),
    }


def numbers_of(values: Any) -> list[float]:
    """All numbers of nested JSON values, in order."""
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list):
        return [number for value in values for number in numbers_of(value)]
    return [float(values)] if isinstance(values, int | float) else []


def same_weights(one: Path, other: Path) -> bool:
    """Whether two files hold the same tensors."""
    ours, theirs = load_file(one), load_file(other)
    return ours.keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in ours.items())


#: Parameters, steps of progress between two kills at most, and the comparison, of each kind.
KINDS = {
    "train": (train_params, 4, compare_trainings),
    "finetune": (finetune_params, 50, compare_finetunings),
}


def main() -> None:
    """Run both jobs and print how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=tuple(KINDS), default="train")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    params_of, steps, compared = KINDS[options.kind]
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "xpert.db"
        store = Store(f"sqlite:///{database}")
        params = params_of(store, Path(folder), options.epochs)
        rng = random.Random(options.seed)
        killed = submit(store, options.kind, params, title="killed")
        moments, damaged = killed_run(store, database, killed, options.kills, steps, rng)
        models = [len(own_models(store))]
        whole = submit(store, options.kind, params, title="not killed")
        finish(store, whole, start_worker(f"sqlite:///{database}"))
        models.append(len(own_models(store)) - models[0])
        jobs = [store.jobs.get(job_id) for job_id in (killed, whole)]
        told = {
            "kills": moments,
            "attempts": jobs[0].attempts,
            "status": [job.status for job in jobs],
            **compared(store, killed, whole),
            "models": models,
            "damaged": damaged,
            "jobs": len(store.jobs.find()),
        }
        print(json.dumps(told, indent=1))
        store.close()


def own_models(store: Store) -> list[str]:
    """Ids of the registered models."""
    return [model.id for model in store.registry.list() if model.kind != SHIPPED]


if __name__ == "__main__":
    main()
