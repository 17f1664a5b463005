"""Intervals that resample the unit of the claim: the drug, the cell line, the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Score:
    """A mean with a bootstrap interval.

    Attributes
    ----------
    mean, low, high : float
        Mean over rows and the 95 % percentile interval.
    n_rows, n_groups : int
        Rows scored, and groups (drugs, cells or patients) resampled.
    """

    mean: float
    low: float
    high: float
    n_rows: int
    n_groups: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_mean(
    values: np.ndarray, groups: np.ndarray, *, draws: int = 2000, seed: int = 0
) -> Score:
    """Mean of `values` with an interval over groups.

    Parameters
    ----------
    values : ndarray, shape (N,)
    groups : ndarray, shape (N,)
        Label of the unit that is resampled, such as the drug.
    draws, seed : int
    """
    labels, index = np.unique(groups, return_inverse=True)
    count = np.bincount(index)
    total = np.bincount(index, weights=values)
    picks = np.random.default_rng(seed).integers(len(labels), size=(draws, len(labels)))
    means = total[picks].sum(axis=1) / count[picks].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Score(float(values.mean()), float(low), float(high), len(values), len(labels))
