"""Patients apart: who is trained on, who chooses, who is tested on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpert_core.errors import DataError
from xpert_core.learning.folds import labels_of, make_folds
from xpert_core.learning.splits import PARTS, Split
from xpert_core.tokens.dataset import TrainingData


def inner_split(data: TrainingData, *, valid: float, seed: int) -> Split:
    """All patients trained on but for some that choose the number of epochs; none is tested.

    Parameters
    ----------
    data : TrainingData
        With ``patients``.
    valid : float
        Share of the pairs that the validation patients have.
    seed : int
    """
    patients = np.array(data.patients)
    order = np.random.default_rng(seed).permutation(np.unique(patients))
    size = np.array([(patients == p).sum() for p in order])
    # At least one patient on either side.
    chosen = order[:-1][(np.cumsum(size) - size)[:-1] < valid * len(patients)]
    held = np.isin(patients, chosen)
    empty = np.zeros(0, dtype=np.int64)
    split = Split(np.flatnonzero(~held), np.flatnonzero(held), empty, empty, "informed")
    assert_patients_apart(data.patients, split)
    return split


def n_folds(data: TrainingData, wanted: int) -> int:
    """Folds that are made of as many patients as there are, where so many are wanted."""
    return max(2, min(wanted, len(set(data.patients)) - 1))


def outer_splits(data: TrainingData, *, folds: int, valid: float, seed: int) -> list[Split]:
    """Folds that test every patient once, each with inner validation patients of its own.

    Fewer folds are made of fewer than `folds` + 1 patients.
    """
    folds = n_folds(data, folds)
    found = make_folds(
        labels_of(data), "unseen-patient", n_folds=folds, seed=seed, valid=valid * (1 - 1 / folds)
    )
    splits = list(found.splits())
    for split in splits:
        assert_patients_apart(data.patients, split)
    return splits


def assert_patients_apart(patients: Sequence[str], split: Split) -> None:
    """Refuse a split with a patient on two sides, or with nobody to train or choose on.

    Raises
    ------
    DataError
        With the number of patients and the first of them.
    """
    sides = {part: {patients[row] for row in getattr(split, part)} for part in PARTS}
    for part in ("train", "valid"):
        if not sides[part]:
            raise DataError(
                f"There is no patient in the {part} part.",
                where=f"{len(set(patients))} patients",
                fix="Add patients.",
            )
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        shared = sorted(sides[a] & sides[b])
        if shared:
            raise DataError(
                f"{len(shared)} {'patient is' if len(shared) == 1 else 'patients are'} in both "
                f"{a} and {b}.",
                where=f"first: {shared[0]}",
                fix="Keep all pairs of a patient on one side.",
            )
