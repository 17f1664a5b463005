"""Scores of a whole set of predictions: per gene over rows, or between rows."""

from __future__ import annotations

import math

import numpy as np

from xpert_core.evaluation.metrics.rows import pearson_rows

GAMMA = 1.0
"""Of the RBF kernel exp(-GAMMA d^2) of the published code; the paper states no width."""
TOLERANCE = 1e-9
"""Bound of the quadrature error of each kernel mean in `mmd_genes`."""
_BLOCK = 1024


def r2_genes(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Coefficient of determination of each gene over rows.

    Equation 20 of the paper has numerator and denominator exchanged; this is the usual
    1 - SS_res / SS_tot, as in the published code.

    Returns
    -------
    ndarray of float64, shape (G,)
        At most 1, without a lower end; NaN for a gene that does not vary (or a single row).
    """
    residual = ((truth - predicted) ** 2).sum(axis=0, dtype=np.float64)
    total = ((truth - truth.mean(axis=0, dtype=np.float64)) ** 2).sum(axis=0, dtype=np.float64)
    found = np.full(truth.shape[1], np.nan)
    np.divide(residual, total, out=found, where=total > 0)
    return 1 - found


def wasserstein_genes(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """1-Wasserstein distance of each gene between the rows' true and predicted values.

    Both have the same number of rows, so it is the mean distance of sorted values.
    """
    apart = np.abs(np.sort(truth, axis=0) - np.sort(predicted, axis=0))
    found: np.ndarray = apart.mean(axis=0, dtype=np.float64)
    return found


def mmd_genes(truth: np.ndarray, predicted: np.ndarray, gamma: float = GAMMA) -> np.ndarray:
    """Squared maximum mean discrepancy of each gene, RBF kernel, biased V-statistic.

    Parameters
    ----------
    truth, predicted : ndarray, shape (N, G)
    gamma : float
        Kernel exp(-gamma (x - y)^2), sigma^2 = 1 / (2 gamma).

    Returns
    -------
    ndarray of float64, shape (G,)
        At least 0.

    Notes
    -----
    The naive formula needs three N x N matrices a gene. By Bochner's theorem the kernel is the mean
    of cos(w (x - y)) over w ~ Normal(0, 2 gamma), so the squared discrepancy is the mean of the
    squared difference of two empirical characteristic functions. The trapezoidal rule with step h
    replaces the kernel by its periodic copies, 2 pi / h apart: the step is chosen so that the next
    copy, and the cut tail of the normal density, stay below `TOLERANCE`. Linear in memory and N.
    """
    low = np.minimum(truth.min(axis=0), predicted.min(axis=0)).astype(np.float64)
    high = np.maximum(truth.max(axis=0), predicted.max(axis=0))
    reach = math.sqrt(-math.log(TOLERANCE / 4) / gamma)
    step = 2 * np.pi / (float((high - low).max()) + reach)
    last = math.sqrt(4 * gamma * -math.log(TOLERANCE / 4))
    frequencies = step * np.arange(1, math.ceil(last / step) + 1)
    density = np.exp(-(frequencies**2) / (4 * gamma)) / math.sqrt(4 * math.pi * gamma)
    difference = _characteristic(truth, low, step, len(frequencies))
    difference -= _characteristic(predicted, low, step, len(frequencies))
    power = difference.real**2 + difference.imag**2
    # Both signs of each frequency; at frequency 0 the functions are equal.
    found: np.ndarray = 2 * step * density @ power
    return found


def _characteristic(values: np.ndarray, low: np.ndarray, step: float, count: int) -> np.ndarray:
    """Empirical characteristic function of each gene at step, 2 step, ..., shape (count, G)."""
    found = np.zeros((count, values.shape[1]), dtype=np.complex128)
    for start in range(0, len(values), _BLOCK):
        turn = np.exp(1j * step * (values[start : start + _BLOCK] - low))
        power = np.ones_like(turn)
        for k in range(count):
            power *= turn
            found[k] += power.sum(axis=0)
    return found / len(values)


def discrimination_rows(
    truth: np.ndarray, predicted: np.ndarray, drug: np.ndarray, context: np.ndarray
) -> np.ndarray:
    """Is a prediction nearer to its own drug's change than to those of other drugs?

    The perturbation discrimination score of the Virtual Cell Challenge 2025, in its L1 form,
    within one cell line and read-out: the share of the other drugs whose mean true change is
    farther from the prediction than that of the row's own drug. Ties count half.

    Parameters
    ----------
    truth, predicted : ndarray, shape (N, G)
    drug, context : ndarray, shape (N,)
        Labels; drugs are compared within one context.

    Returns
    -------
    ndarray of float64, shape (N,)
        0.5 is chance, 1 the best; NaN where the context has one drug only.
    """
    from scipy.spatial.distance import cdist

    found = np.full(len(truth), np.nan)
    for label in np.unique(context):
        rows = np.flatnonzero(context == label)
        drugs, own = np.unique(drug[rows], return_inverse=True)
        if len(drugs) < 2:
            continue
        sums = np.zeros((len(drugs), truth.shape[1]))
        np.add.at(sums, own, truth[rows])
        means = sums / np.bincount(own)[:, None]
        distance = cdist(predicted[rows], means, "cityblock")
        mine = distance[np.arange(len(rows)), own][:, None]
        farther = (distance > mine).sum(axis=1) + 0.5 * ((distance == mine).sum(axis=1) - 1)
        found[rows] = farther / (len(drugs) - 1)
    return found


def noise_ceiling(truth: np.ndarray, condition: np.ndarray) -> np.ndarray | None:
    """How well a replicate is predicted by the others of its condition: a ceiling for the PCC.

    Parameters
    ----------
    truth : ndarray, shape (N, G)
        Measured changes, wells apart.
    condition : ndarray, shape (N,)
        Label of cell line, drug, dose, time and read-out.

    Returns
    -------
    ndarray of float64, shape (N,), or None
        Pearson correlation of each row with the mean of the other rows of its condition; NaN where
        there is no other. None where no condition has two rows.
    """
    _, index, count = np.unique(condition, return_inverse=True, return_counts=True)
    repeated = count[index] > 1
    if not repeated.any():
        return None
    sums = np.zeros((len(count), truth.shape[1]))
    np.add.at(sums, index, truth)
    rows = np.flatnonzero(repeated)
    others = (sums[index[rows]] - truth[rows]) / (count[index[rows]] - 1)[:, None]
    found = np.full(len(truth), np.nan)
    found[rows] = pearson_rows(truth[rows], others)
    return found
