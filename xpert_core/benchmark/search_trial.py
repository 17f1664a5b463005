"""One trial of a search: train on the folds in turn, score inner validation rows, end early."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xpert_core.baselines.registry import Baseline
from xpert_core.benchmark.models import XPertModel, held_out, make_model
from xpert_core.benchmark.search_config import SearchConfig, seed_of, spec_of
from xpert_core.errors import DataError
from xpert_core.learning.loop import validation_scores
from xpert_core.learning.splits import Split
from xpert_core.tokens.dataset import TrainingData

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
FEWEST_RIVALS = 4
"""Finished trials of earlier rounds, so that their median can end another."""

Curves = list[list[float]]
"""Validation score after each epoch of each fold in turn; of a model without epochs, one score."""


@dataclass(frozen=True)
class Plan:
    """A trial that is to run.

    Attributes
    ----------
    number : int
        From 0, the base.
    params : dict
        Settings by key path.
    rivals : tuple of Curves
        Of the trials it is compared with while it runs.
    """

    number: int
    params: dict[str, Any] = field(default_factory=dict)
    rivals: tuple[Curves, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes
    ----------
    state : str
        `COMPLETE`, `PRUNED` or `FAILED`.
    curves : Curves
        The last fold of a pruned or failed trial is cut short.
    reason : str
        Of a failure.
    seconds : float
    """

    state: str
    curves: Curves
    reason: str = ""
    seconds: float = 0.0


class _Pruned(Exception):
    """Raised through the training to end it."""


def running(curves: Curves) -> float:
    """Mean over folds of the best score so far."""
    return statistics.fmean(max(fold) for fold in curves)


def beaten(curves: Curves, rivals: Sequence[Curves], *, ended: bool = False) -> bool:
    """Whether a trial is below the median of its rivals at the same point (the median rule).

    Parameters
    ----------
    curves : Curves
        So far, at least one score in the last fold.
    rivals : sequence of Curves
        Of complete trials.
    ended : bool
        The last fold is over: the rivals' whole fold counts.
    """
    if len(rivals) < FEWEST_RIVALS:
        return False
    place, epochs = len(curves) - 1, None if ended else len(curves[-1])
    return running(curves) < statistics.median(
        running([*rival[:place], rival[place][:epochs]]) for rival in rivals
    )


def run_trial(
    search: SearchConfig, plan: Plan, data: TrainingData, splits: dict[str, Split]
) -> Outcome:
    """Train on each fold and score its validation rows; no other row's answer is in reach.

    Parameters
    ----------
    search : SearchConfig
    plan : Plan
    data : TrainingData
    splits : dict of str to Split
        By label, in the order they are trained on.
    """
    started, state, reason = time.monotonic(), COMPLETE, ""
    curves: Curves = []
    spec, seed = spec_of(search, plan.params), seed_of(search, plan.number)

    def heard(score: float) -> None:
        if not math.isfinite(score):
            raise DataError(
                "The validation score is not a number.",
                where=f"epoch {len(curves[-1]) + 1} of fold {len(curves)}, settings {plan.params}",
                fix="The training diverged: lower the upper bound of lr in 'space', if many do.",
            )
        curves[-1].append(score)
        if len(curves[-1]) >= search.min_epochs and beaten(curves, plan.rivals):
            raise _Pruned

    try:
        for label, split in splits.items():
            curves.append([])
            scenario = label.rpartition(" ")[0]
            groups = held_out(data, scenario) if spec.splits_again else None
            fit_fold(make_model(spec, search.bench.base, seed, groups), data, split, heard)
            if len(curves) < len(splits) and beaten(curves, plan.rivals, ended=True):
                raise _Pruned
    except _Pruned:
        state = PRUNED
    except Exception as error:  # one trial's settings must not end the search
        lines = (str(error) or type(error).__name__).splitlines()
        name = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
        state, reason = FAILED, name + " ".join(lines)[:300]
    return Outcome(state, curves, reason, time.monotonic() - started)


def fit_fold(
    model: Baseline, data: TrainingData, split: Split, heard: Callable[[float], None]
) -> None:
    """Train one model; `heard` gets every validation score and may raise to end it."""
    seen = without_answers(data, split)
    if isinstance(model, XPertModel):
        model.progress = lambda done, most, scores: heard(scores["score"])
        model.fit(seen, split.train, split.valid)
        return
    model.fit(seen, split.train, split.valid)
    heard(validation_scores(seen, split.valid, model.predict(seen, split.valid))["score"])


def without_answers(data: TrainingData, split: Split) -> TrainingData:
    """The data with x_deg only where it is trained or chosen on, NaN in every other row."""
    x_deg = np.full_like(data.x_deg, np.nan)
    for rows in (split.train, split.valid):
        x_deg[rows] = data.x_deg[rows]
    return replace(data, x_deg=x_deg)
