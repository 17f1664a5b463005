"""Splits by drug structure, asserted free of leaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpert_core.errors import DataError
from xpert_core.tokens.dataset import TrainingData

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Split:
    """Row numbers of each part.

    Attributes
    ----------
    train, valid, test : ndarray of int64
        Training rows; inner validation rows, on which every choice is made; test rows, used once.
    dropped : ndarray of int64
        Rows in no part because their drug cannot be told apart from a held-out one.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    dropped: np.ndarray


def split_by_drug(
    data: TrainingData,
    *,
    valid: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    most_rows: float = 0.02,
) -> Split:
    """Hold out drugs by structure (InChIKey connectivity block).

    Parameters
    ----------
    data : TrainingData
    valid, test : float
        Share of the structures held out for each part.
    seed : int
    most_rows : float
        A structure with more than this share of the rows stays in training: one drug must not
        decide a score.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        If a part is empty or a leak is found.

    Notes
    -----
    Compounds without a published structure could be any drug. They are trained on only when their
    mechanism and targets differ from those of every held-out drug.
    """
    keys = np.array(data.drug_keys)
    known = np.array([":" not in key for key in keys])
    rows_of = np.bincount(data.drug_index, minlength=len(keys))
    eligible = np.flatnonzero(known & (rows_of > 0) & (rows_of <= most_rows * len(data)))
    order = np.random.default_rng(seed).permutation(eligible)
    n_valid, n_test = round(valid * len(order)), round(test * len(order))
    parts = np.zeros(len(keys), dtype=np.int64)
    parts[order[:n_valid]] = 1
    parts[order[n_valid : n_valid + n_test]] = 2
    parts[~known & _resembles_held_out(data, parts)] = 3
    rows = parts[data.drug_index]
    split = Split(*(np.flatnonzero(rows == i) for i in range(4)))
    assert_no_leak(data, split)
    return split


def assert_no_leak(data: TrainingData, split: Split) -> None:
    """Check that no structure stands on two sides.

    Raises
    ------
    DataError
        Naming the structure, or the part that is empty.
    """
    keys = np.array(data.drug_keys)
    found = {part: set(keys[data.drug_index[getattr(split, part)]]) for part in PARTS}
    for part, values in found.items():
        if not values:
            raise DataError(
                f"The {part} part of the split has no rows.", fix="Hold out more drugs."
            )
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        shared = sorted(found[a] & found[b])
        if shared:
            raise DataError(
                f"The split leaks: {len(shared)} structure(s) stand in both {a} and {b}.",
                where=f"first: {shared[0]}",
                fix="Split by structure, not by row or by name.",
            )


def _resembles_held_out(data: TrainingData, parts: np.ndarray) -> np.ndarray:
    held_out = np.flatnonzero(np.isin(parts, (1, 2)))
    moa = {m for i in held_out for m in data.drug_moa[i].lower().split("|") if m}
    targets = {frozenset(data.targets_of(i)) for i in held_out} - {frozenset()}
    return np.array(
        [
            not (data.drug_moa[i] or data.drug_targets[i])
            or bool(moa & set(data.drug_moa[i].lower().split("|")))
            or frozenset(data.targets_of(i)) in targets
            for i in range(len(data.drug_keys))
        ]
    )
