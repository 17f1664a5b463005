"""Two groups of patients from any column of the sample table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.errors import ExplanationError

#: Fewest patients a group for a test: with fewer, a variance is hardly more than a guess.
MIN_GROUP = 3
#: Values named in a message.
NAMED_VALUES = 8
#: Cells that mean "not known".
UNKNOWN = frozenset({"", "na", "n/a", "nan", "unk", "unknown", "not evaluable", "ne", "?"})


@dataclass(frozen=True)
class Groups:
    """Two groups of samples, A (the reference) and B.

    Attributes
    ----------
    column : str
    label_a, label_b : str
        How the groups are called in tables and figures.
    rows : ndarray of int64, shape (n,)
        Positions in the sample table, samples of A and B in the order of the file.
    in_b : ndarray of bool, shape (n,)
        Whether the sample is in B.
    patients : ndarray of str, shape (n,)
        Patient of each sample.
    n_unlabelled : int
        Samples left out because the column says nothing of them.
    n_other : int
        Samples left out because their value was not chosen.
    """

    column: str
    label_a: str
    label_b: str
    rows: np.ndarray
    in_b: np.ndarray
    patients: np.ndarray
    n_unlabelled: int
    n_other: int

    @property
    def patient_in_b(self) -> np.ndarray:
        """Group of each patient, in the order of `average_by_patient`."""
        _, first = np.unique(self.patients, return_index=True)
        return self.in_b[np.sort(first)]

    @property
    def n_a(self) -> int:
        """Patients in A."""
        return int((~self.patient_in_b).sum())

    @property
    def n_b(self) -> int:
        """Patients in B."""
        return int(self.patient_in_b.sum())

    @property
    def sentence(self) -> str:
        """Sizes, and who was left out, in words."""
        text = f"{self.n_a} patients in A ({self.label_a}) and {self.n_b} in B ({self.label_b})"
        if len(self.rows) > self.n_a + self.n_b:
            text += f", {len(self.rows)} samples averaged by patient"
        left = [
            f"{self.n_unlabelled} without a value of '{self.column}'" if self.n_unlabelled else "",
            f"{self.n_other} with a value not chosen" if self.n_other else "",
        ]
        said = " and ".join(part for part in left if part)
        return f"{text}; left out: {said}." if said else f"{text}."


def known_word(label: Any) -> str:
    """A cell as a word to compare, without case and outer blanks; "" where it says nothing."""
    word = "" if label is None or pd.isna(label) else str(label).strip().casefold()
    return "" if word in UNKNOWN else word


def group_values(samples: pd.DataFrame, column: str) -> pd.Series:
    """Values of a column and how many samples have each, most frequent first.

    Raises
    ------
    ExplanationError
        If there is no such column.
    """
    return _text(samples, column).value_counts()


def is_numeric(samples: pd.DataFrame, column: str) -> bool:
    """Whether every value that is there is a number, and there are more than two of them."""
    known = _text(samples, column).dropna()
    numbers = _numbers(known)
    return bool(len(known) and numbers.notna().all() and numbers.nunique() > 2)


def groups_by_value(
    samples: pd.DataFrame, column: str, a: Sequence[str], b: Sequence[str]
) -> Groups:
    """Groups by the values of a column.

    Parameters
    ----------
    samples : DataFrame
        As `Profiles.samples`.
    column : str
    a, b : sequence of str
        Values that make A and B; case and outer blanks do not matter.

    Raises
    ------
    ExplanationError
        If the column or a value is not there, a value is asked for twice, or a group is too small.
    """
    text = _text(samples, column)
    if text.nunique() == 1:
        raise ExplanationError(
            f"All labels are equal: every sample with a value has '{text.dropna().iloc[0]}', so "
            "there are no two groups to compare.",
            where=f"column '{column}' of {len(samples)} samples",
            fix="Choose another column.",
        )
    folded = text.str.casefold()
    chosen_a, chosen_b = _chosen(a, text, column, "A"), _chosen(b, text, column, "B")
    both = sorted(chosen_a & chosen_b)
    if both:
        raise ExplanationError(
            f"The value '{both[0]}' is asked for in both groups.",
            where=f"column '{column}'",
            fix="Name each value in one group only.",
        )
    in_a, in_b = folded.isin(chosen_a).to_numpy(), folded.isin(chosen_b).to_numpy()
    return _groups(samples, column, _label(a), _label(b), in_a, in_b, text.isna().to_numpy())


def groups_by_threshold(
    samples: pd.DataFrame, column: str, threshold: float | None = None
) -> Groups:
    """Groups by a numeric column: A up to the threshold, B above it.

    Parameters
    ----------
    threshold : float, optional
        None = the median of the values.

    Raises
    ------
    ExplanationError
        If the column is not there or not numeric, or a group is too small.
    """
    text = _text(samples, column)
    numbers = _numbers(text)
    wrong = text[text.notna() & numbers.isna()]
    if len(wrong) or numbers.notna().sum() == 0:
        example = f", such as '{wrong.iloc[0]}'" if len(wrong) else ""
        raise ExplanationError(
            f"The column '{column}' cannot be split at a number: it holds "
            f"{len(wrong) or 'no'} values that are {'not ' if len(wrong) else ''}numbers{example}.",
            where=f"column '{column}'",
            fix="Choose values for the two groups instead.",
        )
    limit = float(numbers.median()) if threshold is None else threshold
    name = f"median {limit:g}" if threshold is None else f"{limit:g}"
    in_b, known = (numbers > limit).to_numpy(), numbers.notna().to_numpy()
    return _groups(
        samples, column, f"{column} ≤ {name}", f"{column} > {name}", known & ~in_b, in_b, ~known
    )


def average_by_patient(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Mean of each patient's samples, gaps left out, so that every row is independent.

    Repeated biopsies of one patient are not independent. limma's duplicateCorrelation keeps them
    apart and estimates one correlation for all genes; with a few repeats in a cohort that estimate
    is poor, and the mean asks for no assumption. What it gives up is the smaller variance of a mean
    of several, which is not used as a weight.

    Parameters
    ----------
    values : ndarray, shape (n, G)
    patients : ndarray of str, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n_patients, G)
        Patients in the order they first appear.
    """
    _, first, inverse = np.unique(patients, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))[inverse]
    if len(first) == len(patients):
        return values.astype(np.float64)
    present = np.isfinite(values)
    total, count = (np.zeros((len(first), values.shape[1])) for _ in range(2))
    np.add.at(total, order, np.where(present, values, 0.0))
    np.add.at(count, order, present)
    with np.errstate(invalid="ignore"):
        return total / count


def _text(samples: pd.DataFrame, column: str) -> pd.Series:
    """The column as trimmed text, missing where it says nothing."""
    if column not in samples.columns:
        columns = ", ".join(map(str, samples.columns[:20]))
        raise ExplanationError(
            f"The cohort has no column '{column}'.",
            where=f"columns of the sample table: {columns}",
            fix="Name one of these, or add the column to the file.",
        )
    text = samples[column].astype(object).map(lambda v: None if pd.isna(v) else str(v).strip())
    known = text.map(known_word).astype(bool)
    return text.where(known).astype("string")


def _numbers(text: pd.Series) -> pd.Series:
    return pd.to_numeric(text, errors="coerce").astype("float64")


def _chosen(values: Sequence[str], text: pd.Series, column: str, name: str) -> set[str]:
    counts = text.value_counts()
    known = {str(value).casefold() for value in counts.index}
    held = ", ".join(f"{v} ({n})" for v, n in list(counts.items())[:NAMED_VALUES])
    where = f"column '{column}' holds: {held or 'no value at all'}"
    chosen = {str(value).strip().casefold() for value in values if str(value).strip()}
    if not chosen:
        raise ExplanationError(
            f"Group {name} is empty: no value was chosen for it.",
            where=where,
            fix=f"Choose at least one value for group {name}.",
        )
    unknown = [str(v) for v in values if str(v).strip() and str(v).strip().casefold() not in known]
    if unknown:
        raise ExplanationError(
            f"Group {name} asks for '{unknown[0]}', which no sample has.",
            where=where,
            fix="Use the spelling of the file.",
        )
    return chosen


def _label(values: Sequence[str]) -> str:
    return ", ".join(str(value).strip() for value in values if str(value).strip())


def _groups(
    samples: pd.DataFrame,
    column: str,
    label_a: str,
    label_b: str,
    in_a: np.ndarray,
    in_b: np.ndarray,
    unlabelled: np.ndarray,
) -> Groups:
    rows = np.flatnonzero(in_a | in_b)
    patients = samples["patient_id"] if "patient_id" in samples else samples.index.to_series()
    names = patients.astype(object).where(patients.notna(), samples.index.to_series()).astype(str)
    found = Groups(
        column,
        label_a,
        label_b,
        rows,
        in_b[rows],
        names.to_numpy(dtype=str)[rows],
        int(unlabelled.sum()),
        int((~in_a & ~in_b & ~unlabelled).sum()),
    )
    _refuse(found)
    return found


def _refuse(groups: Groups) -> None:
    """Refuse groups that no test can compare."""
    where = f"column '{groups.column}'; {groups.sentence}"
    split = set(groups.patients[groups.in_b]) & set(groups.patients[~groups.in_b])
    if split:
        raise ExplanationError(
            f"{len(split)} patients have samples in both groups, for instance '{min(split)}'.",
            where=where,
            fix="Choose a column that is the same for all samples of a patient; a comparison "
            "before and after treatment is a paired one.",
        )
    for name, label, size in (("A", groups.label_a, groups.n_a), ("B", groups.label_b, groups.n_b)):
        if size == 0:
            raise ExplanationError(
                f"Group {name} ({label}) is empty.",
                where=where,
                fix="Choose other values, or another threshold: all samples are in one group.",
            )
        if size < MIN_GROUP:
            raise ExplanationError(
                f"Group {name} ({label}) has {size} patient{'s' * (size > 1)}: too few for a test, "
                f"which needs at least {MIN_GROUP} in each group.",
                where=where,
                fix="Join values into larger groups, or use a larger cohort.",
            )
