"""Split columns of the published files as folds: carried over where they do not leak."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.errors import DataError
from xpert_core.learning.fold_files import save_folds
from xpert_core.learning.folds import (
    NONE,
    SCENARIOS,
    SHOTS,
    TEST,
    TRAIN,
    VALID,
    Folds,
    Labels,
    check_folds,
    labels_of,
    withhold_unknown,
)
from xpert_core.tokens.dataset import TrainingData

_PARTS = {"train": TRAIN, "valid": VALID, "val": VALID, "test": TEST}
_COLUMN = re.compile(
    r"split_(?:(?P<fold>\d+)"
    r"|cold_(?P<kind>drug|cell|tissue|cancer)_(?P<kfold>\d+)"
    r"|cold_dose&time_random_(?P<sfold>\d+)_(?P<shots>one|0\.\d)_shot)$"
)
_VALID_SHARE = 0.1


@dataclass(frozen=True)
class Carried:
    """What became of the split columns of one scenario.

    Attributes
    ----------
    scenario : str
        "" for columns that no scenario here asks.
    columns : tuple of str
    path : Path or None
        The split file; None when it was refused.
    why : str
        Why it was refused; "" when it was not.
    """

    scenario: str
    columns: tuple[str, ...]
    path: Path | None
    why: str


def split_columns(obs: pd.DataFrame) -> list[str]:
    """Columns of ``obs`` that hold a split."""
    return [str(c) for c in obs.columns if re.match(r"(\w+_)?split(_|$)", str(c))]


def carry_splits(columns: pd.DataFrame, data: TrainingData, folder: Path) -> list[Carried]:
    """Write split files of published columns, named as ``xpert benchmark`` looks for them.

    Where a column has no validation rows (the published code then chose on the test rows), whole
    groups of its training rows become validation.

    Parameters
    ----------
    columns : DataFrame, N rows
        Split columns, a row for each row of `data`.
    data : TrainingData
    folder : Path
        Where the split files go.

    Returns
    -------
    list of Carried
        A column set that leaks is refused, with the reason.
    """
    if columns.empty:
        return []
    labels = labels_of(data)
    sets: dict[str, list[str]] = defaultdict(list)
    for column in columns:
        sets[_scenario(str(column), data)].append(str(column))
    found = []
    for scenario, names in sets.items():
        ordered = tuple(sorted(names))
        if not scenario:
            why = "no scenario here asks what they hold out"
            found.append(Carried("", ordered, None, why))
            continue
        try:
            found.append(_carry(scenario, columns[list(ordered)], labels, data, folder))
        except DataError as error:
            why = f"{error.what} {error.where}".strip()
            found.append(Carried(scenario, ordered, None, why))
    return found


def _scenario(column: str, data: TrainingData) -> str:
    """Scenario that a column is a fold of; "" when none is."""
    match = _COLUMN.match(column)
    if match is None:
        return ""
    if match["fold"]:  # of patients, the published files mean unseen patients by it
        return "unseen-patient" if data.patients else "warm-start"
    if match["kind"] in ("drug", "cell"):
        return f"cold-{match['kind']}"
    if match["kind"]:
        return "unseen-cancer" if data.cancers else ""
    return f"cold-dose-time-{match['shots']}" if match["shots"] in SHOTS else ""


def _carry(
    scenario: str, columns: pd.DataFrame, labels: Labels, data: TrainingData, folder: Path
) -> Carried:
    kind = SCENARIOS[scenario]
    parts = np.full((len(columns.columns), len(columns)), NONE, dtype=np.int8)
    for fold, name in enumerate(columns):
        text = columns[name].astype(str).str.strip().str.lower()
        parts[fold] = text.map(_PARTS).fillna(NONE).to_numpy()
        if not (parts[fold] == VALID).any():
            _draw_validation(parts[fold], getattr(labels, kind.grouping), fold)
    folds = withhold_unknown(Folds(kind, 0, parts), data)
    check_folds(folds, labels)
    folder.mkdir(parents=True, exist_ok=True)
    # The name under which a benchmark with these numbers of folds and seed looks for it.
    path = folder / f"{scenario}-both-{len(folds)}-folds-seed-0.csv"
    save_folds(path, folds, data)
    return Carried(scenario, tuple(columns.columns), path, "")


def _draw_validation(part: np.ndarray, groups: np.ndarray, seed: int) -> None:
    """Turn whole groups of the training rows, a tenth of them, into validation; in place."""
    train = part == TRAIN
    # Groups that are tested too would only hide a leak that `check_folds` must see.
    names = np.setdiff1d(groups[train], groups[part == TEST])
    left = max(1, int(_VALID_SHARE * train.sum()))
    for name in np.random.default_rng(seed).permutation(names):
        if left <= 0:
            break
        chosen = train & (groups == name)
        part[chosen] = VALID
        left -= int(chosen.sum())
