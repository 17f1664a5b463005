"""The study of a search on disk: an Optuna study in SQLite that one process writes.

A trial may take several attempts. An attempt that was cut off is kept as failed and the trial is
run again, so Optuna's own numbers can run ahead of ours, which stand in each attempt's attributes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpert_core.benchmark.search_config import SearchConfig
from xpert_core.benchmark.search_trial import COMPLETE, FAILED, PRUNED, Outcome, running
from xpert_core.errors import DataError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

CUT_OFF, STOPPED = "cut off", "stopped"
"""How an attempt ended that is not final: with its process, or by Ctrl-C."""


@dataclass(frozen=True)
class Attempt:
    """An attempt at a trial that has ended.

    Attributes
    ----------
    number : int
        Of the trial, from 0, the base.
    params : dict
    outcome : Outcome
    final : bool
        False: it was cut off or stopped, and says nothing of the settings.
    frozen : optuna.trial.FrozenTrial
    """

    number: int
    params: dict[str, Any]
    outcome: Outcome
    final: bool
    frozen: FrozenTrial

    @property
    def value(self) -> float:
        """Mean over folds of the best validation score; of a pruned trial, over what it did."""
        curves = [fold for fold in self.outcome.curves if fold]
        return running(curves) if curves else float("nan")


class Study:
    """The attempts of a search.

    Parameters
    ----------
    path : Path
        SQLite file, made when it is not there.
    search : SearchConfig
    identity : dict
        What all its trials have in common.

    Raises
    ------
    DataError
        When the file is no study, or one of another search.
    """

    def __init__(self, path: Path, search: SearchConfig, identity: dict[str, Any]) -> None:
        import optuna
        from sqlalchemy.exc import DatabaseError

        self._space = {key: r.distribution() for key, r in search.space.items()}
        try:
            self._storage = optuna.storages.RDBStorage(
                f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}}
            )
            study = optuna.create_study(
                storage=self._storage,
                study_name="search",
                direction="maximize",
                load_if_exists=True,
            )
        except (DatabaseError, RuntimeError) as error:
            raise DataError(
                "The study of the search cannot be read.",
                where=f"{path}: {str(error)[:200]}",
                fix="Delete it to begin anew, or give another folder with --out.",
            ) from error
        self._id = self._storage.get_study_id_from_name("search")
        known = study.user_attrs.get("identity")
        if known is None:
            study.set_user_attr("identity", identity)
        elif changed := differences(known, identity):
            raise DataError(
                "The study was made by another search.",
                where=f"{path}; different: {'; '.join(changed)}",
                fix="Give the search another name or --out, or delete the folder to begin anew.",
            )

    def start(self, number: int, params: dict[str, Any]) -> int:
        """Note that a trial runs; returns the attempt's id."""
        from optuna.trial import TrialState, create_trial

        attempt = create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions={key: self._space[key] for key in params},
            user_attrs={"number": number},
        )
        return self._storage.create_new_trial(self._id, attempt)

    def finish(self, attempt: int, outcome: Outcome) -> None:
        """Note what an attempt came to; twice is once. Its state, written last, makes it count."""
        from optuna.trial import TrialState

        if self._storage.get_trial(attempt).state != TrialState.RUNNING:
            return
        # Few writes: each is a transaction that waits for the disk.
        facts = {"curves": outcome.curves, "reason": outcome.reason, "seconds": outcome.seconds}
        self._storage.set_trial_user_attr(attempt, "outcome", [outcome.state, facts])
        curves = [fold for fold in outcome.curves if fold]
        if outcome.state == PRUNED:
            # TPE ranks pruned trials by it.
            epochs = sum(map(len, curves))
            self._storage.set_trial_intermediate_value(attempt, epochs, running(curves))
        states = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
        values = [running(curves)] if outcome.state == COMPLETE else None
        self._storage.set_trial_state_values(attempt, states[outcome.state], values)

    def stop(self, attempt: int, how: str = STOPPED) -> None:
        """Note that an attempt ended without a result."""
        from optuna.trial import TrialState

        self._storage.set_trial_user_attr(attempt, "outcome", [how, {"curves": []}])
        self._storage.set_trial_state_values(attempt, TrialState.FAIL)

    def close_running(self) -> None:
        """Mark as cut off what a killed process left running."""
        from optuna.trial import TrialState

        for trial in self._storage.get_all_trials(self._id, states=(TrialState.RUNNING,)):
            self.stop(trial._trial_id, CUT_OFF)

    def attempts(self) -> list[Attempt]:
        """Every attempt that has ended, by the number of its trial."""
        found = []
        for trial in self._storage.get_all_trials(self._id):
            if not trial.state.is_finished():
                continue
            state, facts = trial.user_attrs["outcome"]
            final = state in (COMPLETE, PRUNED, FAILED)
            number = trial.user_attrs["number"]
            found.append(Attempt(number, trial.params, Outcome(state, **facts), final, trial))
        return sorted(found, key=lambda a: (a.number, a.frozen.number))

    def cut_off(self, number: int) -> int:
        """How often a trial ended with its process."""
        return sum(a.number == number and a.outcome.state == CUT_OFF for a in self.attempts())

    def line(self, number: int) -> str:
        """A finished trial in a few words."""
        trial = next(a for a in self.attempts() if a.number == number and a.final)
        state = trial.outcome.state
        value = "" if state == FAILED else f", {trial.value:.4f}"
        reason = f", {trial.outcome.reason}" if trial.outcome.reason else ""
        return f"trial {number}: {state}{value}{reason}"


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What tells two searches apart, such as ``space (lr)``."""
    old, new = (json.loads(json.dumps(d)) for d in (old, new))
    found = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if a == b:
            continue
        inner = []
        if isinstance(a, dict) and isinstance(b, dict):
            inner = [k for k in sorted({*a, *b}) if a.get(k) != b.get(k)]
        found.append(f"{key} ({', '.join(inner)})" if inner else key)
    return found
