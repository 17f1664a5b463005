"""Scores of single rows: one number for each predicted profile.

Every function takes ``truth`` and ``predicted`` of shape (N, G), without NaN unless it says
otherwise, and returns float64 of shape (N,). A prediction that orders nothing (all genes equal)
gets what a random order would get on average: 0 for a correlation, the chance level for a share.
"""

from __future__ import annotations

import numpy as np

TRUTH_SET = 100
"""Genes of the truth set in the published code's precision, whatever K is."""


def pearson_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row (paper, equation 21, per sample over genes).

    Parameters
    ----------
    a, b : ndarray, shape (N, G)

    Returns
    -------
    ndarray of float64, shape (N,)
        0 where either row is constant: a constant prediction orders nothing.
    """
    # A constant row less its mean is not always 0: the mean of float64 is rounded.
    varies = _varies(a, a) & _varies(b, b)
    a = a - a.mean(axis=1, keepdims=True, dtype=np.float64)
    b = b - b.mean(axis=1, keepdims=True, dtype=np.float64)
    norm = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    product = (a * b).sum(axis=1)
    return np.divide(product, norm, out=np.zeros_like(product), where=varies & (norm > 0))


def _varies(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Whether a row has two values: the least of `low` is below the most of `high`."""
    found: np.ndarray = low.min(axis=1) < high.max(axis=1)
    return found


def pearson_measured(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row over the genes that were measured.

    Parameters
    ----------
    truth : ndarray, shape (N, G)
        NaN = not measured; without any NaN this is `pearson_rows`.
    predicted : ndarray, shape (N, G)

    Returns
    -------
    ndarray of float64, shape (N,)
        0 where either row is constant over the genes measured.
    """
    known = ~np.isnan(truth)
    if known.all():
        return pearson_rows(predicted, truth)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    low, high = ([np.where(known, x, end) for x in (truth, predicted)] for end in (np.inf, -np.inf))
    varies = _varies(low[0], high[0]) & _varies(low[1], high[1])
    a, b = (np.where(known, x, 0.0).astype(np.float64) for x in (truth, predicted))
    a, b = (np.where(known, x - x.sum(axis=1, keepdims=True) / count, 0.0) for x in (a, b))
    return np.where(varies, pearson_rows(a, b), 0.0)


def spearman_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman correlation of each row, ties sharing their mean rank.

    The published formula (equation 22) holds without ties only; this is the Pearson correlation
    of ranks.

    Parameters
    ----------
    a, b : ndarray, shape (N, G)

    Returns
    -------
    ndarray of float64, shape (N,)
        0 where either row is constant.
    """
    from scipy.stats import rankdata

    return pearson_rows(rankdata(a, axis=1), rankdata(b, axis=1))


def mean_squared_rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean squared error of each row (equation 17 is its mean over rows)."""
    difference = truth.astype(np.float64) - predicted
    found: np.ndarray = np.einsum("ij,ij->i", difference, difference) / truth.shape[1]
    return found


def mean_absolute_rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Mean absolute error of each row (equation 19 is its mean over rows)."""
    return np.abs(truth - predicted).mean(axis=1, dtype=np.float64)


def direction_rows(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Share of a row's clearly changed genes whose predicted sign is right.

    Clearly changed: larger than the root mean square of the row, so that no unit is needed. A
    predicted 0 counts half. NaN for a row that is 0 everywhere.
    """
    clear = np.abs(truth) > np.sqrt(mean_squared_rows(truth, np.zeros_like(truth)))[:, None]
    right = 0.5 * (1 + np.sign(truth) * np.sign(predicted))
    count = clear.sum(axis=1)
    found = np.full(len(truth), np.nan)
    np.divide((right * clear).sum(axis=1), count, out=found, where=count > 0)
    return found


def hits_rows(
    truth: np.ndarray, predicted: np.ndarray, k: int, truth_set: int | None = None
) -> np.ndarray:
    """Share of the `k` genes predicted highest that are among the highest of the truth.

    Parameters
    ----------
    truth, predicted : ndarray, shape (N, G)
        Negate both for the lowest genes; take absolute values for the most changed ones.
    k : int
    truth_set : int, optional
        Size of the truth's set; default `k`.

    Returns
    -------
    ndarray of float64, shape (N,)
        Chance is ``truth_set / G``. Equal values stand in the order of the genes.
    """
    size, genes = truth_set or k, truth.shape[1]
    member = np.zeros(truth.shape, dtype=bool)
    np.put_along_axis(member, _top(truth, min(size, genes)), True, axis=1)
    hits = np.take_along_axis(member, _top(predicted, min(k, genes)), axis=1).mean(axis=1)
    constant = predicted.min(axis=1) == predicted.max(axis=1)
    hits[constant] = min(size, genes) / genes
    return hits


def _top(values: np.ndarray, k: int) -> np.ndarray:
    """Columns of the `k` highest values of each row, in no order; ties by column."""
    if k == values.shape[1]:
        return np.broadcast_to(np.arange(k), values.shape)
    # The k-th value decides; among genes equal to it the first ones are taken.
    threshold = -np.partition(-values, k - 1, axis=1)[:, k - 1 : k]
    above = values > threshold
    equal = values == threshold
    wanted = k - above.sum(axis=1, keepdims=True)
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= wanted))
    return np.nonzero(chosen)[1].reshape(len(values), k)
