"""Run the tasks of a benchmark: resumable, over processes, every number on disk."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.benchmark.config import XPERT, BenchmarkConfig, ScenarioSpec, Task, tasks
from xpert_core.benchmark.memory import peak_mib, reset_peak
from xpert_core.benchmark.models import (
    XPertModel,
    held_out,
    make_model,
    of_fold,
    recipe_document,
    vectors_of,
    with_drug_input,
)
from xpert_core.benchmark.predictions import Predictions
from xpert_core.benchmark.scoring import IMPLIED, ROW_PCC, score_x_deg, score_x_pert
from xpert_core.benchmark.workers import start_worker
from xpert_core.errors import DataError
from xpert_core.files import atomic_path, sha256_bytes, write_bytes_atomic
from xpert_core.learning.fold_files import load_folds, save_folds, stored_digest
from xpert_core.learning.folds import NONE, labels_of, make_folds, withhold_unknown
from xpert_core.learning.splits import Split
from xpert_core.tokens.dataset import LOG2_READOUT, Z_READOUT, TrainingData

Report = Callable[[int, int, str], None]
"""(tasks done, tasks in all, label of the last)"""


@dataclass(frozen=True)
class Finished:
    """What one task left on disk.

    Attributes
    ----------
    rows : DataFrame
        A line a test row: ``row``, ``readout``, ``drug``, ``cell``, ``patient`` and ``cancer``
        where the data give them, every metric of x_deg that has a value for a row, and
        the columns of `scoring.ROW_PCC`.
    facts : dict
        Task, ``identity``, ``values`` (metric by read-out), ``x_pert`` (metric of profiles after
        treatment by the way they were predicted; older tasks lack it), ``seconds``, ``epochs``,
        ``memory_mib`` and ``memory_own`` (whether it is the task's own peak), ``trained_in``
        (``bfloat16`` or ``float32``, of models that can choose) and ``trained_on`` (``cpu``,
        ``cuda``; older tasks lack it and ran on the processor).
    predictions : Path or None
        Where its predictions lie, see `benchmark.predictions`; None where they were not kept.
    """

    rows: pd.DataFrame
    facts: dict[str, Any]
    predictions: Path | None = None


def run(
    config: BenchmarkConfig,
    out: Path,
    progress: Report | None = None,
    *,
    stored_only: bool = False,
) -> list[Finished]:
    """Run what is not on disk yet, and read everything.

    Parameters
    ----------
    config : BenchmarkConfig
    out : Path
        Folder of the benchmark: ``splits/``, ``tasks/``; a report adds ``genes/``.
    progress : callable, optional
    stored_only : bool
        Run nothing, and read what is there.

    Raises
    ------
    DataError
        When the data or a split cannot be used, a task failed (the others are kept), or nothing
        is there to be read.
    """
    data = TrainingData.load(config.data)
    splits = {s.name: write_split(config, s, data, out / "splits") for s in config.scenarios}
    jobs = [
        (task, task_path(config, task, data, splits[task.scenario.name], out))
        for task in tasks(config)
    ]
    left = [job for job in jobs if not job[1].with_suffix(".json").is_file()]
    report = progress or (lambda *_: None)
    done = len(jobs) - len(left)
    report(done, len(jobs), "")
    if stored_only:
        jobs = [job for job in jobs if job[1].with_suffix(".json").is_file()]
        if not jobs:
            raise DataError(
                "No task of this benchmark is done.",
                where=str(out),
                fix="Run it without --report-only, or name the folder of its results with --out.",
            )
    else:
        _check_vectors(config, [task for task, _ in left])
        for task in _executed(config, left, out):
            done += 1
            report(done, len(jobs), task.label)
    finished = [_with_x_pert(path, read_task(path), data) for _, path in jobs]
    return finished + averaged(config, data, finished, out)


def _check_vectors(config: BenchmarkConfig, left: list[Task]) -> None:
    """Refuse to start, rather than fail hours later, without the graph vectors of a fold."""
    wanted = {
        vectors_of(of_fold(task.model, task.scenario.name, task.fold), config.base): task
        for task in left
        if task.model.of_each_fold
    }
    missing = {path: task for path, task in wanted.items() if path and not path.is_file()}
    if missing:
        first, task = next(iter(missing.items()))
        raise DataError(
            f"The graph vectors of {len(missing)} fold(s) are not there.",
            where=f"first: {first}, for {task.label}",
            fix="Make them: python -m training.fold_graph CONFIG.yaml FOLDER (docs/graph.md), or "
            "leave the model out.",
        )


def task_path(
    config: BenchmarkConfig, task: Task, data: TrainingData, split_digest: str, out: Path
) -> Path:
    """Where a task's files lie, without suffix: named by what its numbers depend on.

    Parameters
    ----------
    config : BenchmarkConfig
    task : Task
    data : TrainingData
    split_digest : str
        Of the scenario, from `write_split`.
    out : Path
        Folder of the benchmark.
    """
    model = of_fold(task.model, task.scenario.name, task.fold)
    recipe = recipe_document(model, config.base)
    return out / "tasks" / task.identity(data.features_digest, split_digest, recipe)[:16]


def averaged(
    config: BenchmarkConfig, data: TrainingData, finished: list[Finished], out: Path
) -> list[Finished]:
    """The mean prediction over the seeds of each model that asks for it, scored as its own.

    Over as many seeds as have kept their predictions in every fold of a scenario, two or more; its
    name says how many, its fact ``seeds`` which. Stored like a task, so that it outlives the
    predictions it was made from.
    """
    found = []
    for spec in config.models:
        own = [f for f in finished if f.facts["model"] == spec.name] if spec.average_seeds else []
        for scenario in config.scenarios:
            tasks_here = [f for f in own if f.facts["scenario"] == scenario.name]
            split = split_path(config, scenario, out / "splits")
            for parts in _to_average(tasks_here, out):
                path = _mean_path(parts, out)
                stored = read_task(path) if path.with_suffix(".json").is_file() else None
                # Means stored before x_pert was scored are made anew where that is possible.
                again = stored and _lacks_x_pert(stored, data) and all(f.predictions for f in parts)
                if stored is None or again:
                    fold = load_folds(split, data).split(parts[0].facts["fold"] - 1)
                    mean = _mean_of(parts, data, fold.train)
                    mean.facts["identity"] = path.name
                    write_task(path, mean)
                task = read_task(path)
                seeds = sorted(f.facts["seed"] for f in parts)
                found.append(replace(task, facts={**task.facts, "seeds": seeds}))
    return found


def _mean_path(parts: Sequence[Finished], out: Path) -> Path:
    identities = " ".join(sorted(f.facts["identity"] for f in parts))
    return out / "tasks" / sha256_bytes(f"mean of {identities}".encode())[:16]


def _has_mean(parts: Sequence[Finished], out: Path) -> bool:
    """Whether the mean of these tasks is stored, or can be made."""
    stored = _mean_path(parts, out).with_suffix(".json").is_file()
    return stored or all(f.predictions for f in parts)


def _to_average(tasks_here: list[Finished], out: Path) -> list[list[Finished]]:
    """Tasks of the most seeds whose mean is stored or can be made in every fold, by fold.

    The same seeds in every fold: else their mean over folds would be of no one thing.
    """
    seeds = sorted({f.facts["seed"] for f in tasks_here})
    folds = sorted({f.facts["fold"] for f in tasks_here})
    for size in range(len(seeds), 1, -1):
        for chosen in combinations(seeds, size):
            parts = [
                [f for f in tasks_here if f.facts["fold"] == k and f.facts["seed"] in chosen]
                for k in folds
            ]
            if all(len(some) == size and _has_mean(some, out) for some in parts):
                return parts
    return []


def _mean_of(seeds: Sequence[Finished], data: TrainingData, train: np.ndarray) -> Finished:
    kept = [Predictions.load(f.predictions) for f in seeds]
    mean = np.stack([k.x_deg for k in kept]).mean(axis=0, dtype=np.float32)
    values, rows = score_x_deg(data, train, kept[0].rows, mean)
    x_pert, columns = score_x_pert(data, kept[0].rows, mean)
    facts = {
        **seeds[0].facts,
        "model": f"{seeds[0].facts['model']}, mean of {len(seeds)} seeds",
        "values": values,
        "x_pert": x_pert,
        "seconds": _added([f.facts["seconds"] for f in seeds]),
        "trained_on": " and ".join(sorted({trained_on(f) for f in seeds})),
    }
    return Finished(rows.merge(columns, on="row", how="left"), facts)


def trained_on(task: Finished) -> str:
    """Kind of device a task was trained on."""
    return str(task.facts.get("trained_on", "cpu"))


def _lacks_x_pert(task: Finished, data: TrainingData) -> bool:
    """Whether measured profiles were not scored: values and rows belong together."""
    measured = bool(data.has_x_pert[task.rows["row"]].any())
    return "x_pert" not in task.facts or measured != (ROW_PCC[IMPLIED] in task.rows)


def _with_x_pert(path: Path, task: Finished, data: TrainingData) -> Finished:
    """A task stored before x_pert was scored, completed from its predictions if they were kept."""
    if task.predictions is None or not _lacks_x_pert(task, data):
        return task
    kept = Predictions.load(task.predictions)
    values, columns = score_x_pert(data, kept.rows, kept.x_deg)
    rows = task.rows.merge(columns, on="row", how="left")
    completed = Finished(rows, {**task.facts, "x_pert": values}, task.predictions)
    write_task(path, completed)
    return completed


def _added(parts: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def _executed(config: BenchmarkConfig, left: list[tuple[Task, Path]], out: Path) -> Iterator[Task]:
    if not left:
        return
    # Forking a process that has used PyTorch's threads can hang.
    context = multiprocessing.get_context("spawn")
    failed: list[str] = []
    with ProcessPoolExecutor(
        config.workers, context, initializer=_start, initargs=(config, out)
    ) as pool:
        running = {pool.submit(_work, task, path): task for task, path in left}
        try:
            for future in as_completed(running):
                error = future.exception()
                if error is None:
                    yield running[future]
                else:
                    failed.append(f"{running[future].label}: {error}")
        except BaseException:
            # Not waited for: a task can take ten minutes, and leaves nothing half written.
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
    if failed:
        raise DataError(
            f"{len(failed)} of {len(left)} tasks failed; the others are kept.",
            where=failed[0][:300],
            fix="Mend the cause and run the same command again: what is done stays done.",
        )


_loaded: dict[str, Any] = {}


def _start(config: BenchmarkConfig, out: Path) -> None:
    """In each worker: the data read once."""
    start_worker(trains_xpert=any(m.kind == XPERT for m in config.models))
    _loaded.update(config=config, data=TrainingData.load(config.data), splits=out / "splits")


def _work(task: Task, path: Path) -> None:
    config, data = _loaded["config"], _loaded["data"]
    folds = load_folds(split_path(config, task.scenario, _loaded["splits"]), data)
    path.parent.mkdir(parents=True, exist_ok=True)
    finished = execute(task, data, folds.split(task.fold - 1), config.base, path)
    finished.facts["identity"] = path.name
    write_task(path, finished)


def write_task(path: Path, finished: Finished) -> None:
    """Write the two files of a task, of which `path` is the name without suffix."""
    with atomic_path(path.with_suffix(".parquet")) as temporary:
        finished.rows.to_parquet(temporary, index=False, compression="zstd")
    # Written last: a task counts as done when this file is there.
    document = json.dumps(finished.facts, indent=1) + "\n"
    write_bytes_atomic(path.with_suffix(".json"), document.encode())


def execute(
    task: Task, data: TrainingData, split: Split, base: Path, path: Path | None = None
) -> Finished:
    """Fit one model on one fold and score its test rows, each read-out by itself.

    Predictions are kept beside `path` where the model asks for it.
    """
    own_peak = reset_peak()
    started = time.perf_counter()
    seen = with_drug_input(data, task.model.drug, task.seed)
    groups = held_out(data, task.scenario.name) if task.model.splits_again else None
    spec = of_fold(task.model, task.scenario.name, task.fold)
    model = make_model(spec, base, task.seed, groups)
    model.fit(seen, split.train, split.valid)
    fitted = time.perf_counter()
    if isinstance(model, XPertModel):
        predicted, head = model.predict_both(seen, split.test)
    else:
        predicted, head = model.predict(seen, split.test), None
    seconds = {"fit": fitted - started, "predict": time.perf_counter() - fitted}
    values, rows = score_x_deg(data, split.train, split.test, predicted)
    x_pert, columns = score_x_pert(data, split.test, predicted, head)
    kept = None
    if path is not None and task.model.keeps:
        kept = Predictions.path(path)
        chosen_on = model.predict(seen, split.valid)
        Predictions(split.test, predicted, split.valid, chosen_on).save(kept)
    facts = {
        "scenario": task.scenario.name,
        "fold": task.fold,
        "model": task.model.name,
        "kind": task.model.kind,
        "drug": task.model.drug,
        "seed": task.seed,
        "values": values,
        "x_pert": x_pert,
        "seconds": seconds,
        "epochs": getattr(model, "epochs", 0),
        "trained_in": getattr(model, "trains_in", ""),
        "trained_on": getattr(getattr(model, "device", None), "type", "cpu"),
        "memory_mib": peak_mib(),
        "memory_own": own_peak,
    }
    return Finished(rows.merge(columns, on="row", how="left"), facts, kept)


def split_path(config: BenchmarkConfig, scenario: ScenarioSpec, folder: Path) -> Path:
    """File of a scenario's split; what it depends on is in its name, so no other is read for it."""
    kind = scenario.readout.replace(" ", "")
    return folder / f"{scenario.name}-{kind}-{config.n_folds}-folds-seed-{config.split_seed}.csv"


def write_split(
    config: BenchmarkConfig, scenario: ScenarioSpec, data: TrainingData, folder: Path
) -> str:
    """Write the split file of a scenario, or check the one that is there; returns its hash.

    Where `config.splits` is set, the file of that name in it is taken over, once it is checked; no
    split is drawn.

    Raises
    ------
    DataError
        When the split file is missing where one must be given, is not of the scenario, number of
        folds, seed or read-out, differs from the copy in `folder`, or cannot be used
        (`learning.fold_files.load_folds`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = split_path(config, scenario, folder)
    if config.splits is not None:
        _take_over(config, scenario, data, path)
    elif not path.is_file():
        rows = _READOUT_ROWS.get(scenario.readout)
        chosen = None if rows is None else data.readout == rows
        folds = make_folds(
            labels_of(data),
            scenario.name,
            rows=chosen,
            n_folds=config.n_folds,
            seed=config.split_seed,
        )
        return save_folds(path, withhold_unknown(folds, data), data)
    _check_split(config, scenario, data, path)
    return stored_digest(path)


_READOUT_ROWS = {"level 3": LOG2_READOUT, "level 5": Z_READOUT}
"""Read-out of the rows that take part, where it is not both."""


def _take_over(
    config: BenchmarkConfig, scenario: ScenarioSpec, data: TrainingData, path: Path
) -> None:
    """Copy a given split file to `path`, or see that the copy there is the same."""
    assert config.splits is not None
    given = config.splits / path.name
    if not given.is_file():
        there = sorted(p.name for p in config.splits.glob("*.csv"))
        raise DataError(
            f"The folder of split files has none for {scenario.name}.",
            where=f"{config.splits}: no {path.name}; there is {', '.join(there) or 'none'}"[:600],
            fix="Set readout, n_folds and split_seed as the names there have them ('both' is the "
            "readout of published splits), leave the scenario out, or leave 'splits' out to draw.",
        )
    _check_split(config, scenario, data, given)
    if not path.is_file():
        write_bytes_atomic(path, given.read_bytes())
    elif stored_digest(path) != stored_digest(given):
        raise DataError(
            f"The results at hand are of another split of {scenario.name} than the given one.",
            where=f"{path} and {given}",
            fix="Choose another output folder, or delete the first file: its tasks are then done "
            "again on the given split.",
        )


def _check_split(
    config: BenchmarkConfig, scenario: ScenarioSpec, data: TrainingData, path: Path
) -> None:
    """Refuse a split file that is not what its name says."""
    folds = load_folds(path, data)
    rows = _READOUT_ROWS.get(scenario.readout)
    wrong = []
    if folds.scenario.name != scenario.name:
        wrong.append(f"its scenario is {folds.scenario.name}, not {scenario.name}")
    if len(folds) != config.n_folds:
        wrong.append(f"it has {len(folds)} folds, not {config.n_folds}")
    if folds.seed != config.split_seed:
        wrong.append(f"its seed is {folds.seed}, not split_seed {config.split_seed}")
    if rows is not None and (folds.parts[:, data.readout != rows] != NONE).any():
        wrong.append(f"rows of another read-out than {scenario.readout} take part")
    if wrong:
        raise DataError(
            "The split file is not of this benchmark.",
            where=f"{path}: {'; '.join(wrong)}",
            fix="Give the file of that scenario, number of folds, seed and read-out, or change "
            "these in the configuration (published splits have seed 0).",
        )


def read_task(path: Path) -> Finished:
    """Read what a task left.

    Raises
    ------
    DataError
        When one of its files is missing or damaged.
    """
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        kept = Predictions.path(path)
        rows = pd.read_parquet(path.with_suffix(".parquet"))
        return Finished(rows, facts, kept if kept.is_file() else None)
    except (OSError, ValueError) as error:
        raise DataError(
            "A stored result of the benchmark cannot be read.",
            where=f"{path.name}: {str(error)[:200]}",
            fix="Delete its two files and run the same command again.",
        ) from error
