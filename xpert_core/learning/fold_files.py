"""Folds as files that a person can review in a diff: one row a line, with a hash."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.errors import DataError
from xpert_core.files import write_bytes_atomic
from xpert_core.learning.folds import (
    PART_NAMES,
    SCENARIOS,
    Folds,
    check_folds,
    labels_of,
    withhold_unknown,
)
from xpert_core.tokens.dataset import TrainingData

_FIX = "Write it again with training/make_splits.py, for the data at hand."


def save_folds(path: Path, folds: Folds, data: TrainingData) -> str:
    """Write folds; returns the SHA-256 of the table that follows the header.

    The header (lines with ``#``) names scenario, seed, data and hash. A line a row: number, cell,
    drug, dose (uM), time (h), read-out, group held out together, and its part in each fold.
    """
    labels = labels_of(data)
    table = pd.DataFrame(
        {
            "row": np.arange(len(data)),
            "cell": labels.cell,
            "drug": np.array(data.drug_names)[data.drug_index],
            "dose_um": data.dose_um,
            "time_h": data.time_h,
            "readout": data.readout,
            "group": getattr(labels, folds.scenario.grouping),
        }
    )
    for fold, part in enumerate(folds.parts, start=1):
        table[f"fold_{fold}"] = np.array(PART_NAMES)[part]
    body = table.to_csv(index=False, lineterminator="\n")
    digest = _hash(folds.scenario.name, folds.seed, body)
    header = {
        "scenario": folds.scenario.name,
        "seed": folds.seed,
        "data": data.digest,
        "sha256": digest,
    }
    lines = "".join(f"# {key}: {value}\n" for key, value in header.items())
    write_bytes_atomic(path, (lines + body).encode())
    return digest


def load_folds(path: Path, data: TrainingData) -> Folds:
    """Read folds, and check them as if they were new.

    Raises
    ------
    DataError
        When the file is missing, damaged or changed, belongs to other data, or leaks.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        header = dict(line[1:].strip().split(": ", 1) for line in lines if line.startswith("#"))
        body = "".join(line for line in lines if not line.startswith("#"))
        scenario, seed = SCENARIOS[header["scenario"]], int(header["seed"])
        table = pd.read_csv(io.StringIO(body), usecols=lambda c: c == "row" or "fold_" in c)
        names = [column for column in table if column != "row"]
        code = {name: value for value, name in enumerate(PART_NAMES)}
        parts = np.array([[code[part] for part in table[name]] for name in names], dtype=np.int8)
        same = header["sha256"] == _hash(scenario.name, seed, body)
        digest = header["data"]
    except (OSError, UnicodeDecodeError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            "The split file cannot be read.", where=f"{path}: {str(error)[:200]}", fix=_FIX
        ) from error
    if not same:
        raise DataError(
            "The split file was changed after it was written.", where=str(path), fix=_FIX
        )
    if digest != data.digest or parts.shape[1] != len(data):
        raise DataError("The split file belongs to other data.", where=str(path), fix=_FIX)
    folds = Folds(scenario, seed, parts)
    check_folds(folds, labels_of(data))
    _check_unknown(path, folds, data)
    return folds


def _check_unknown(path: Path, folds: Folds, data: TrainingData) -> None:
    """Refuse training rows of compounds without a structure that could be a held-out drug."""
    fold, row = np.nonzero(withhold_unknown(folds, data).parts != folds.parts)
    if len(row):
        drugs = np.unique(data.drug_index[row])
        raise DataError(
            f"The split leaks: {len(drugs)} compound(s) of unknown structure that could be a "
            "held-out drug are trained on.",
            where=f"{path}: {folds.scenario.name}, fold {fold[0] + 1}, first: "
            f"{data.drug_names[data.drug_index[row[0]]]}",
            fix="Put their rows in no part (learning.folds.withhold_unknown), as "
            "training/make_splits.py and xpert data prepare tensors do.",
        )


def stored_digest(path: Path) -> str:
    """Hash that a split file states of itself; `load_folds` checks that it is true.

    Raises
    ------
    DataError
        When the file is missing or states none.
    """
    try:
        header = Path(path).read_text(encoding="utf-8").splitlines()[:4]
        return next(line.split(": ")[1] for line in header if line.startswith("# sha256"))
    except (OSError, UnicodeDecodeError, StopIteration, IndexError) as error:
        raise DataError("The split file cannot be read.", where=str(path), fix=_FIX) from error


def _hash(scenario: str, seed: int, body: str) -> str:
    return hashlib.sha256(f"{scenario}\n{seed}\n{body}".encode()).hexdigest()
