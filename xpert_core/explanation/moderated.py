"""Moderated t-statistics: the variance of a gene borrows from all genes.

Smyth 2004, "Linear models and empirical Bayes methods for assessing differential expression in
microarray experiments", doi 10.2202/1544-6115.1027, as in the R package limma. Only what two
groups and one group (pairs) need is here, in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

#: As limma: variances under this share of the median are raised to it before the prior is fitted.
LEAST_VARIANCE = 1e-5


@dataclass(frozen=True)
class Prior:
    """Scaled inverse chi-square prior of the variances.

    Attributes
    ----------
    variance : float
        s0^2, the value variances are drawn to.
    df : float
        d0, the degrees of freedom it counts for; infinity when all genes vary alike.
    """

    variance: float
    df: float

    def squeeze(self, variance: np.ndarray, df: np.ndarray) -> np.ndarray:
        """Posterior variance (equation 5 of the paper)."""
        if np.isinf(self.df):
            return np.full_like(variance, self.variance)
        return (self.df * self.variance + df * variance) / (self.df + df)


@dataclass(frozen=True)
class Moderated:
    """Moderated t of each gene, each array of shape (G,).

    Attributes
    ----------
    difference : ndarray
        Mean of B minus mean of A, or mean change of the pairs.
    t, df, p : ndarray
        NaN where fewer than two values a group (two pairs) are there.
    prior : Prior
    """

    difference: np.ndarray
    t: np.ndarray
    df: np.ndarray
    p: np.ndarray
    prior: Prior


def trigamma_inverse(x: float) -> float:
    """y with trigamma(y) = x, by Newton's method (appendix of the paper)."""
    if x > 1e7:
        return 1 / np.sqrt(x)
    if x < 1e-6:
        return 1 / x
    y = 0.5 + 1 / x
    for _ in range(50):
        value = special.polygamma(1, y)
        step = value * (1 - value / x) / special.polygamma(2, y)
        y += step
        if -step / y < 1e-8:
            break
    return float(y)


def fit_prior(variance: np.ndarray, df: np.ndarray) -> Prior:
    """Prior from the moments of log variances (section 6.2 of the paper; limma's fitFDist).

    Parameters
    ----------
    variance, df : ndarray, shape (G,)
        Residual variances and their degrees of freedom; what is not finite is left out.
    """
    usable = np.isfinite(variance) & (df > 0) & (variance > -1e-15)
    s2, d = np.maximum(variance[usable], 0.0), df[usable]
    if len(s2) < 2:
        return Prior(0.0, 0.0)
    s2 = np.maximum(s2, LEAST_VARIANCE * (np.median(s2) or 1.0))
    e = np.log(s2) - special.digamma(d / 2) + np.log(d / 2)
    excess = e.var(ddof=1) - special.polygamma(1, d / 2).mean()
    if excess <= 0:
        return Prior(float(s2.mean()), np.inf)
    df0 = 2 * trigamma_inverse(float(excess))
    return Prior(float(np.exp(e.mean() + special.digamma(df0 / 2) - np.log(df0 / 2))), df0)


def moderated_t(values: np.ndarray, in_b: np.ndarray) -> Moderated:
    """Moderated t of B against A.

    Parameters
    ----------
    values : ndarray, shape (N, G)
        log2 values, one row an independent sample; NaN = not measured.
    in_b : ndarray of bool, shape (N,)
    """
    n_a, mean_a, squares_a = _group(values[~in_b])
    n_b, mean_b, squares_b = _group(values[in_b])
    usable = (n_a > 1) & (n_b > 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        unscaled = 1 / n_a + 1 / n_b
    return _finish(mean_b - mean_a, squares_a + squares_b, n_a + n_b - 2, unscaled, usable)


def moderated_change(change: np.ndarray) -> Moderated:
    """Moderated t of the mean change: the paired test, each patient being its own block.

    Parameters
    ----------
    change : ndarray, shape (N, G)
        After minus before, log2, one row a patient (see `groups.average_by_patient` for patients
        with several biopsies).
    """
    n, mean, squares = _group(change)
    with np.errstate(divide="ignore"):
        unscaled = 1 / n
    return _finish(mean, squares, n - 1, unscaled, n > 1)


def _group(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and sum of squares about it, by gene."""
    present = np.isfinite(values)
    n = present.sum(axis=0).astype(np.float64)
    filled = np.where(present, values, 0.0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=0) / n
    squares = (np.where(present, filled - np.nan_to_num(mean), 0.0) ** 2).sum(axis=0)
    return n, mean, squares


def _finish(
    difference: np.ndarray,
    squares: np.ndarray,
    df: np.ndarray,
    unscaled: np.ndarray,
    usable: np.ndarray,
) -> Moderated:
    variance = np.where(usable, squares / np.maximum(df, 1), np.nan)
    df = np.where(usable, df, 0.0)
    prior = fit_prior(variance, df)
    with np.errstate(invalid="ignore", divide="ignore"):
        posterior = prior.squeeze(variance, df)
        t = difference / np.sqrt(posterior * unscaled)
    # As limma: the prior never counts for more than all genes together hold.
    total = np.minimum(df + prior.df, df.sum())
    t = np.where(usable & (posterior > 0), t, np.nan)
    p = 2 * special.stdtr(total, -np.abs(t))
    return Moderated(np.where(usable, difference, np.nan), t, total, p, prior)
