"""Splits by drug, asserted free of leaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpert_core.errors import DataError
from xpert_core.tokens.dataset import TrainingData

PARTS = ("train", "valid", "test")
TARGETS = ("strict", "informed")
MOST_ROWS = 0.02
"""A drug or scaffold with more than this share of the rows stays in training: one must not decide
a score."""
MOST_TIMES_MEAN = 3
"""Of few drugs each has more than that share: up to this many times the mean is held out too."""


@dataclass(frozen=True)
class Split:
    """Row numbers of each part.

    Attributes
    ----------
    train, valid, test : ndarray of int64
        Training rows; inner validation rows, on which every choice is made; test rows, used once.
    dropped : ndarray of int64
        Rows in no part because their drug cannot be told apart from a held-out one.
    targets : str
        What is known of held-out drugs: ``"strict"``, nothing but their structure, neither in
        training nor when they are scored, nor to the graph's encoder; ``"informed"``, their known
        targets, as users of library drugs get it.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    dropped: np.ndarray
    targets: str = "strict"

    def parts(self) -> dict[str, np.ndarray]:
        """Row numbers by name of the part, those in no part last."""
        return {name: getattr(self, name) for name in (*PARTS, "dropped")}


def split_by_drug(
    data: TrainingData,
    *,
    valid: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    most_rows: float = MOST_ROWS,
    targets: str = "strict",
) -> Split:
    """Hold out drugs: by structure (InChIKey connectivity block) and by name.

    Parameters
    ----------
    data : TrainingData
    valid, test : float
        Share of the drugs held out for each part.
    seed : int
    most_rows : float
        A drug with more than this share of the rows, and more than `MOST_TIMES_MEAN` times the mean
        of the drugs, stays in training: one drug must not decide a score.
    targets : str
        See `Split`.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        If a part is empty, a leak is found, or `targets` is not known.

    Notes
    -----
    Sources draw some drugs in several ways, so structures that share a name or an identifier stay
    on one side. Compounds without a published structure could be any drug. They are trained on
    only when their mechanism and targets differ from those of every held-out drug.
    """
    groups = drug_groups(data)
    known = np.array([":" not in key for key in data.drug_keys])
    rows_of = np.bincount(groups[data.drug_index], minlength=groups.max() + 1)
    named = np.unique(groups[known])
    named = named[rows_of[named] > 0]
    eligible = named[rows_of[named] <= largest_group(len(data), len(named), most_rows)]
    order = np.random.default_rng(seed).permutation(eligible)
    n_valid, n_test = round(valid * len(order)), round(test * len(order))
    part_of = np.zeros(len(rows_of), dtype=np.int64)
    part_of[order[:n_valid]] = 1
    part_of[order[n_valid : n_valid + n_test]] = 2
    parts = part_of[groups]
    held_out = np.flatnonzero(np.isin(parts, (1, 2)))
    parts[~known & (parts == 0) & resembles(data, held_out)] = 3
    rows = parts[data.drug_index]
    train_rows, valid_rows, test_rows, dropped = (np.flatnonzero(rows == i) for i in range(4))
    split = Split(train_rows, valid_rows, test_rows, dropped, targets)
    assert_no_leak(data, split)
    return split


def held_out_keys(data: TrainingData, split: Split) -> tuple[str, ...]:
    """Sorted keys of the validation and test drugs that are not trained on.

    Where conditions or cell lines are held out, drugs stand on both sides and none is held out.
    """
    drugs = np.unique(data.drug_index[np.concatenate([split.valid, split.test])])
    new = np.setdiff1d(drugs, data.drug_index[split.train])
    return tuple(sorted(data.drug_keys[i] for i in new))


def largest_group(rows: int, groups: int, share: float = MOST_ROWS) -> float:
    """Rows that a group may have to be held out.

    Parameters
    ----------
    rows, groups : int
        All rows, and the groups that may be held out by their kind.
    share : float
        Of the rows.
    """
    return max(1.0, share * rows, MOST_TIMES_MEAN * rows / max(1, groups))


def drug_groups(data: TrainingData) -> np.ndarray:
    """Number of the group of each drug, shape (D,): drugs that share an alias are one group."""
    group = np.arange(len(data.drug_keys))
    first: dict[str, int] = {}
    for drug, text in enumerate(data.drug_aliases):
        for alias in filter(None, text.split("|")):
            other = first.setdefault(alias, drug)
            group[group == group[drug]] = group[other]
    return np.unique(group, return_inverse=True)[1]


def assert_no_leak(data: TrainingData, split: Split) -> None:
    """Check that no structure, name or identifier stands on two sides.

    Raises
    ------
    DataError
        Naming the drug, or the part that is empty.
    """
    if split.targets not in TARGETS:
        raise DataError(
            f"The targets of held-out drugs cannot be {split.targets!r}.",
            fix=f"Use one of {', '.join(TARGETS)}.",
        )
    found = {part: _identities(data, getattr(split, part)) for part in PARTS}
    for part, values in found.items():
        if not values:
            raise DataError(
                f"The {part} part of the split has no rows.", fix="Hold out more drugs."
            )
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        shared = sorted(found[a] & found[b])
        if shared:
            raise DataError(
                f"The split leaks: {len(shared)} drug(s) stand in both {a} and {b}.",
                where=f"first: {shared[0]}",
                fix="Split by structure and name, not by row.",
            )


def _identities(data: TrainingData, rows: np.ndarray) -> set[str]:
    """Structures, names and identifiers of the drugs of some rows."""
    drugs = np.unique(data.drug_index[rows])
    aliases = {a for i in drugs for a in data.drug_aliases[i].split("|") if a}
    return aliases | {data.drug_keys[i] for i in drugs}


def resembles(data: TrainingData, held_out: np.ndarray) -> np.ndarray:
    """Drugs that share a mechanism or their targets with one of `held_out`, or have neither.

    Parameters
    ----------
    data : TrainingData
    held_out : ndarray of int64
        Drugs.

    Returns
    -------
    ndarray of bool, shape (D,)
        A compound of unknown structure must not be trained on where this is true: it could be a
        held-out drug.
    """
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
