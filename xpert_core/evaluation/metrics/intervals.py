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
        Mean over rows and the 95 % percentile interval; limits are NaN with fewer than two groups.
    n_rows, n_groups : int
        Rows scored, and groups (drugs, cells or patients) resampled.
    """

    mean: float
    low: float
    high: float
    n_rows: int
    n_groups: int

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.mean:.3f} [no interval]"
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

    Returns
    -------
    Score
        Without limits (NaN) where fewer than two groups have values: one group says nothing of
        others.
    """
    labels, index = np.unique(groups, return_inverse=True)
    if len(labels) < 2:
        mean = float(values.mean()) if len(values) else np.nan
        return Score(mean, np.nan, np.nan, len(values), len(labels))
    count = np.bincount(index)
    total = np.bincount(index, weights=values)
    picks = np.random.default_rng(seed).integers(len(labels), size=(draws, len(labels)))
    means = total[picks].sum(axis=1) / count[picks].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Score(float(values.mean()), float(low), float(high), len(values), len(labels))


def bootstrap_means(
    values: np.ndarray, groups: np.ndarray, *, draws: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of several columns with intervals over the same draws of groups.

    Parameters
    ----------
    values : ndarray, shape (N, M)
        One column a model; NaN where it has no value.
    groups : ndarray, shape (N,)
    draws, seed : int
        With the same two, a column without NaN gets the numbers of `bootstrap_mean`.

    Returns
    -------
    mean, low, high : ndarray of float64, shape (M,)
        The interval is NaN where fewer than two groups have values: one group says nothing of
        others.
    """
    known = ~np.isnan(values)
    labels, index = np.unique(groups, return_inverse=True)
    count, total = (np.zeros((len(labels), values.shape[1])) for _ in range(2))
    np.add.at(count, index, known)
    np.add.at(total, index, np.where(known, values, 0.0))
    with np.errstate(invalid="ignore"):
        mean = total.sum(axis=0) / count.sum(axis=0)
    low, high = (np.full(values.shape[1], np.nan) for _ in range(2))
    enough = (count > 0).sum(axis=0) > 1
    if enough.any():
        picks = np.random.default_rng(seed).integers(len(labels), size=(draws, len(labels)))
        cells = np.arange(draws)[:, None] * len(labels) + picks
        weight = np.bincount(cells.ravel(), minlength=draws * len(labels))
        weight = weight.reshape(draws, len(labels)).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means = (weight @ total[:, enough]) / (weight @ count[:, enough])
        low[enough], high[enough] = np.nanquantile(means, [0.025, 0.975], axis=0)
    return mean, low, high


def limits_text(low: float, high: float) -> str:
    """``"0.194 to 0.275"``; a single group has no interval."""
    return "not defined" if np.isnan(low) or np.isnan(high) else f"{low:.3f} to {high:.3f}"
