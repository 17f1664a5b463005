"""Run a hyperparameter search: resumable, over processes, one process alone writing its study.

A trial's settings and seeds follow from the search's seed and the trial's number; it is compared
with trials of earlier rounds alone. So neither the number of workers nor an interruption changes a
result.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpert_core.benchmark.config import XPERT
from xpert_core.benchmark.runner import Report, split_path, write_split
from xpert_core.benchmark.search_config import SearchConfig, check_params, draw, need_optuna
from xpert_core.benchmark.search_study import Attempt, Study
from xpert_core.benchmark.search_trial import COMPLETE, FAILED, Outcome, Plan, run_trial
from xpert_core.benchmark.workers import start_worker
from xpert_core.errors import DataError
from xpert_core.learning.fold_files import load_folds
from xpert_core.learning.splits import Split
from xpert_core.tokens.dataset import TrainingData

MOST_ATTEMPTS = 3
"""A trial whose process was killed so often is recorded as failed: it may need too much memory."""


@dataclass(frozen=True)
class Found:
    """A finished search.

    Attributes
    ----------
    trials : list of Attempt
        One for each number, in their order.
    interrupted : int
        Attempts that were cut off and run again.
    folds : tuple of str
        Labels of the folds, such as ``cold-drug 1``.
    seen : dict of str to float
        Of each fold of the scenarios, searched or not: the share of its test rows that were
        validation rows of a fold of the search.
    """

    trials: list[Attempt]
    interrupted: int
    folds: tuple[str, ...]
    seen: dict[str, float]


def run(search: SearchConfig, out: Path, progress: Report | None = None) -> Found:
    """Run the trials that are not in the study yet, and read all.

    Parameters
    ----------
    search : SearchConfig
    out : Path
        Folder of the search: ``study.sqlite``, ``splits/``.
    progress : callable, optional

    Raises
    ------
    DataError
        Without Optuna, when the data or a split cannot be used, the study belongs to another
        search or is in use, a process died, or every trial failed.
    """
    need_optuna()
    check_params(search, {})
    out.mkdir(parents=True, exist_ok=True)
    data = TrainingData.load(search.bench.data)
    with _alone(out):
        scenarios = search.bench.scenarios
        hashes = {s.name: write_split(search.bench, s, data, out / "splits") for s in scenarios}
        study = Study(out / "study.sqlite", search, search.identity(data.features_digest, hashes))
        study.close_running()
        _run_missing(search, study, out, progress or (lambda *_: None))
        trials = [a for a in study.attempts() if a.final and a.number < search.trials]
        interrupted = sum(not a.final for a in study.attempts())
    if not any(t.outcome.state == COMPLETE for t in trials):
        raise DataError(
            "No trial of the search was completed.",
            where=next((t.outcome.reason for t in trials if t.outcome.reason), out.name),
            fix="Mend the cause, and delete the folder of the search.",
        )
    labels = tuple(splits_of(search, data, out))
    return Found(trials, interrupted, labels, seen_shares(search, data, out))


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise DataError(
            "Another process is running this search.",
            where=out.name,
            fix="Wait for it, stop it, or give another folder with --out.",
        ) from error


def _run_missing(search: SearchConfig, study: Study, out: Path, report: Report) -> None:
    finished = {a.number for a in study.attempts() if a.final}
    left = [n for n in range(search.trials) if n not in finished]
    done = search.trials - len(left)
    report(done, search.trials, "")
    if not left:
        return

    def told(number: int) -> None:
        nonlocal done
        done += 1
        report(done, search.trials, study.line(number))

    # Forking a process that has used PyTorch's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(search.bench.workers, len(left)), context, initializer=_start, initargs=(search, out)
    ) as pool:
        try:
            for first, numbers in _rounds(search, left):
                _run_round(search, study, first, numbers, pool, told)
        except BrokenProcessPool as error:
            raise DataError(
                "A process of the search died; it may have run out of memory.",
                fix="Run the same command again, with fewer --workers: what is done stays done.",
            ) from error
        except BaseException:
            # Not waited for: a trial can take an hour, and leaves nothing half written.
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _rounds(search: SearchConfig, left: list[int]) -> Iterator[tuple[int, list[int]]]:
    """First number of each round, and its trials that are still to run."""
    looks_back = search.pruner != "none" or search.sampler != "random"
    size = search.round_size if looks_back else search.trials
    for first in range(0, search.trials, size):
        if numbers := [n for n in left if first <= n < first + size]:
            yield first, numbers


def _run_round(
    search: SearchConfig,
    study: Study,
    first: int,
    waiting: list[int],
    pool: ProcessPoolExecutor,
    told: Callable[[int], None],
) -> None:
    """Run trials of one round; each is in the study before `told` gets its number."""
    earlier = [a for a in study.attempts() if a.final and a.number < first]
    frozen = [a.frozen for a in earlier if a.params and a.outcome.state != FAILED]
    complete = tuple(a.outcome.curves for a in earlier if a.outcome.state == COMPLETE)
    rivals = complete if search.pruner == "median" else ()
    flying: dict[Future[Outcome], tuple[int, int]] = {}
    try:
        while waiting or flying:
            while waiting and len(flying) < search.bench.workers:
                number = waiting.pop(0)
                params, reason = draw(search, number, frozen)
                if study.cut_off(number) >= MOST_ATTEMPTS:
                    reason = f"its process was killed {MOST_ATTEMPTS} times"
                attempt = study.start(number, params)
                if reason:
                    study.finish(attempt, Outcome(FAILED, [], reason))
                    told(number)
                    continue
                # Only as many as there are workers: what is noted as running does run.
                flying[pool.submit(_work, Plan(number, params, rivals))] = number, attempt
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                number, attempt = flying[future]
                study.finish(attempt, future.result())
                del flying[future]
                told(number)
    except BaseException as error:
        for future, (_, attempt) in flying.items():
            if future.done() and future.exception() is None:
                study.finish(attempt, future.result())
            elif isinstance(error, KeyboardInterrupt):
                study.stop(attempt)
        raise


_loaded: dict[str, Any] = {}


def _start(search: SearchConfig, out: Path) -> None:
    """In each worker: the data read once."""
    start_worker(trains_xpert=search.base.kind == XPERT)
    data = TrainingData.load(search.bench.data)
    _loaded.update(search=search, data=data, splits=splits_of(search, data, out))


def _work(plan: Plan) -> Outcome:
    return run_trial(_loaded["search"], plan, _loaded["data"], _loaded["splits"])


def splits_of(search: SearchConfig, data: TrainingData, out: Path) -> dict[str, Split]:
    """Splits of the folds that are searched on, by label, in the order they are trained on."""
    found = {}
    for scenario in search.bench.scenarios:
        folds = load_folds(split_path(search.bench, scenario, out / "splits"), data)
        for fold in scenario.folds:
            found[f"{scenario.name} {fold}"] = folds.split(fold - 1)
    return found


def seen_shares(search: SearchConfig, data: TrainingData, out: Path) -> dict[str, float]:
    """Of each fold, the share of its test rows on which the search has chosen in another fold."""
    searched = splits_of(search, data, out)
    chosen_on = np.unique(np.concatenate([s.valid for s in searched.values()]))
    found = {}
    for scenario in search.bench.scenarios:
        folds = load_folds(split_path(search.bench, scenario, out / "splits"), data)
        for fold, split in enumerate(folds.splits(), start=1):
            found[f"{scenario.name} {fold}"] = float(np.isin(split.test, chosen_on).mean())
    return found
