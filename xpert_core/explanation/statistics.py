"""Two-group tests of many genes at once; gaps (NaN) are left out gene by gene.

The sign is that of B minus A everywhere. Values are on a log2 scale, so a difference of means is
the log2 ratio of geometric means, and what is shown is what is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from scipy import special
from scipy.optimize import brentq

from xpert_core.explanation.progress import Steps

#: A gene whose standard deviation (log2) is not above this is constant but for rounding.
CONSTANT_SD = 1e-6
#: The p of a single test that is not corrected for anything.
NOMINAL = 0.05
#: Permutations handled at a time: bounds memory to about 60 MB for 978 genes.
CHUNK = 500
#: Genes with fewer relabellings than this at least as extreme get more, in steps up to the last
#: of `REFINED`, so that a small p is known well enough for a correction over a thousand genes.
FEW, REFINED = 50, (100_000, 1_000_000)


@dataclass(frozen=True)
class Welch:
    """Welch's test of each gene.

    Attributes
    ----------
    difference : ndarray of float64, shape (..., G)
        Mean of B minus mean of A.
    t : ndarray of float64, shape (..., G)
        NaN where a group has fewer than two values or the gene does not vary.
    error_a, error_b : ndarray of float64, shape (..., G)
        Squared standard errors of the means.
    n_a, n_b : ndarray of float64, shape (..., G)
        Values present.
    """

    difference: np.ndarray
    t: np.ndarray
    error_a: np.ndarray
    error_b: np.ndarray
    n_a: np.ndarray
    n_b: np.ndarray

    # Computed when asked for: permutations need the statistic alone.
    @property
    def df(self) -> np.ndarray:
        """Welch-Satterthwaite degrees of freedom."""
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = self.error_a**2 / (self.n_a - 1) + self.error_b**2 / (self.n_b - 1)
            return (self.error_a + self.error_b) ** 2 / parts

    @property
    def p(self) -> np.ndarray:
        """Two-sided p; NaN where there is no statistic."""
        return 2 * special.stdtr(self.df, -np.abs(self.t))


@dataclass(frozen=True)
class Moments:
    """Sums of each gene over all rows, shared by every relabelling of the rows.

    Attributes
    ----------
    centred : ndarray of float64, shape (N, G)
        Values minus the gene's mean; 0 where not measured.
    present : ndarray of float64, shape (N, G)
        1 where measured.
    constant : ndarray of bool, shape (G,)
    """

    centred: np.ndarray
    present: np.ndarray
    constant: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Moments of `values` (N, G)."""
        present = np.isfinite(values)
        count = np.maximum(present.sum(axis=0), 1)
        filled = np.where(present, values, 0.0).astype(np.float64)
        centred = np.where(present, filled - filled.sum(axis=0) / count, 0.0)
        # Where rows were centred in float64, the mean square is exact enough for the limit.
        constant = np.sqrt((centred**2).sum(axis=0) / count) <= CONSTANT_SD
        return cls(centred, present.astype(np.float64), constant)

    def of_genes(self, genes: np.ndarray) -> Moments:
        """Moments of some genes, by position."""
        return Moments(self.centred[:, genes], self.present[:, genes], self.constant[genes])

    def welch(self, in_b: np.ndarray) -> Welch:
        """Welch's test for each labelling.

        Parameters
        ----------
        in_b : ndarray of bool, shape (N,) or (P, N)
            True for the rows of B.
        """
        chosen = np.asarray(in_b, dtype=np.float64)
        squares = self.centred**2
        sum_b, square_b = chosen @ self.centred, chosen @ squares
        if self.present.all():
            n_b = chosen.sum(axis=-1, keepdims=chosen.ndim > 1)
        else:
            n_b = chosen @ self.present
        n_a = self.present.sum(axis=0) - n_b
        sum_a, square_a = self.centred.sum(axis=0) - sum_b, squares.sum(axis=0) - square_b
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_a, mean_b = sum_a / n_a, sum_b / n_b
            error_a = np.maximum(square_a - sum_a * mean_a, 0.0) / ((n_a - 1) * n_a)
            error_b = np.maximum(square_b - sum_b * mean_b, 0.0) / ((n_b - 1) * n_b)
            difference = mean_b - mean_a
            t = difference / np.sqrt(error_a + error_b)
        t[(n_a < 2) | (n_b < 2) | self.constant | ~np.isfinite(t)] = np.nan
        return Welch(difference, t, error_a, error_b, n_a, n_b)


def welch(values: np.ndarray, in_b: np.ndarray) -> Welch:
    """Welch's t-test of each gene (Welch 1947).

    Parameters
    ----------
    values : ndarray, shape (N, G)
        One row an independent sample; NaN = not measured.
    in_b : ndarray of bool, shape (N,)
    """
    return Moments.of(values).welch(in_b)


@dataclass(frozen=True)
class Relabellings:
    """Ways to give the group labels out anew.

    Attributes
    ----------
    in_b : ndarray of bool, shape (P, N)
    complete : bool
        Whether every way is there, the observed one among them; else they are random draws.
    seed : int
        Of the draws, and of any further ones.
    """

    in_b: np.ndarray
    complete: bool
    seed: int = 0

    def __len__(self) -> int:
        return len(self.in_b)

    def p(self, at_least: np.ndarray) -> np.ndarray:
        """p-value from the number of relabellings at least as extreme as what was observed.

        Exact when complete; else (1 + k) / (1 + P), which is never zero and never too small
        (Phipson and Smyth 2010, doi 10.2202/1544-6115.1585).
        """
        if self.complete:
            return at_least / len(self)
        return (1.0 + at_least) / (1.0 + len(self))


def relabellings(in_b: np.ndarray, count: int = 10_000, seed: int = 0) -> Relabellings:
    """All relabellings when there are at most `count`, else `count` random ones."""
    n, n_b = len(in_b), int(np.sum(in_b))
    if comb(n, n_b) <= count:
        rows = np.array(list(combinations(range(n), n_b)), dtype=np.intp)
        labels = np.zeros((len(rows), n), dtype=bool)
        np.put_along_axis(labels, rows, True, axis=1)
        return Relabellings(labels, True, seed)
    return Relabellings(_draws(in_b, count, np.random.default_rng(seed)), False, seed)


def _draws(in_b: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Random relabellings: the rows with the smallest random numbers are B."""
    n_b = int(np.sum(in_b))
    numbers = generator.random((count, len(in_b)), dtype=np.float32)
    chosen = np.argpartition(numbers, n_b, axis=1)[:, :n_b]
    labels = np.zeros(numbers.shape, dtype=bool)
    np.put_along_axis(labels, chosen, True, axis=1)
    return labels


@dataclass(frozen=True)
class PermutationTest:
    """Permutation null of Welch's t.

    Attributes
    ----------
    p : ndarray of float64, shape (G,)
        Two-sided p of each gene; it assumes no distribution.
    p_max : ndarray of float64, shape (G,)
        p of each gene against the largest statistic of all genes: it holds the chance of one
        false gene in the whole table (Westfall and Young 1993, single step).
    maxima : ndarray of float64, shape (P,)
        Largest absolute t over the genes, by relabelling.
    maximum : float
        The same with the true labels.
    n : int
        Relabellings.
    exact : bool
        Whether they are all there are.
    """

    p: np.ndarray
    p_max: np.ndarray
    maxima: np.ndarray
    maximum: float
    n: int
    exact: bool


def permutation_test(
    values: np.ndarray,
    in_b: np.ndarray,
    labels: Relabellings,
    steps: Steps | None = None,
    *,
    refined: Sequence[int] = REFINED,
) -> PermutationTest:
    """Permutation p of each gene: the labels are given out anew, the same way for all genes.

    The statistic is Welch's t, which keeps the test valid, for large groups, when the spreads
    differ (Janssen 1997, doi 10.1016/S0167-7152(97)00043-6). Genes in the far tail get more
    relabellings (Besag and Clifford 1991, doi 10.1093/biomet/78.2.301, in steps).

    Parameters
    ----------
    values : ndarray, shape (N, G)
    in_b : ndarray of bool, shape (N,)
    labels : Relabellings
    steps : Steps, optional
        Told of every chunk; notices a cancel.
    refined : sequence of int
        Relabellings in all after each further step; empty = none.
    """
    moments = Moments.of(values)
    # Rounding must not decide a tie, and the observed labelling ties with itself.
    observed = np.abs(moments.welch(in_b).t) * (1 - 1e-9)
    above, above_max = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    maxima = np.zeros(len(labels))
    for rows in chunks(len(labels)):
        if steps is not None:
            steps.begin("Permuted labels")
        t = np.abs(moments.welch(labels.in_b[rows]).t)
        above += (t >= observed).sum(axis=0)
        maxima[rows] = np.nanmax(t, axis=1, initial=0.0)
        above_max += (maxima[rows, None] >= observed).sum(axis=0)
    known = np.isfinite(observed)
    p, p_max = (np.where(known, labels.p(k), np.nan) for k in (above, above_max))
    done = len(labels)
    for total in () if labels.complete else [n for n in refined if n > done]:
        tail = np.flatnonzero(known & (above < FEW))
        if not len(tail):
            break
        part = moments.of_genes(tail)
        # A stream of its own for each step, apart from that of the first relabellings.
        generator = np.random.default_rng([total - done, labels.seed])
        above[tail] += _tail_count(part, in_b, observed[tail], total - done, generator, steps)
        p[tail] = (1.0 + above[tail]) / (1.0 + total)
        done = total
    maximum = float(np.nanmax(observed, initial=0.0))
    return PermutationTest(p, p_max, maxima, maximum, len(labels), labels.complete)


def _tail_count(
    moments: Moments,
    in_b: np.ndarray,
    observed: np.ndarray,
    count: int,
    generator: np.random.Generator,
    steps: Steps | None,
) -> np.ndarray:
    """How many of `count` fresh relabellings are at least as extreme, by gene."""
    above = np.zeros(len(observed))
    for rows in chunks(count, 5 * CHUNK):
        if steps is not None:
            steps.begin("Permuted labels, genes in the tail")
        fresh = _draws(in_b, rows.stop - rows.start, generator)
        above += (np.abs(moments.welch(fresh).t) >= observed).sum(axis=0)
    return above


def chunks(total: int, size: int = CHUNK) -> Iterator[slice]:
    """Slices that cover 0 to `total`."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values along the last axis; NaN stays NaN and does not count as a test.

    Benjamini and Hochberg 1995, doi 10.1111/j.2517-6161.1995.tb02031.x.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, axis=-1)  # NaN last
    ranked = np.take_along_axis(p, order, axis=-1)
    tests = np.isfinite(p).sum(axis=-1, keepdims=True)
    scaled = ranked * tests / np.arange(1, p.shape[-1] + 1)
    backwards = np.flip(np.where(np.isnan(scaled), np.inf, scaled), axis=-1)
    smallest = np.flip(np.minimum.accumulate(backwards, axis=-1), axis=-1)
    q = np.empty_like(p)
    np.put_along_axis(q, order, np.minimum(smallest, 1.0), axis=-1)
    return np.where(np.isnan(p), np.nan, q)


@dataclass(frozen=True)
class EffectSize:
    """Hedges' g with a 95 % interval, each of shape (G,)."""

    g: np.ndarray
    low: np.ndarray
    high: np.ndarray


def hedges(values: np.ndarray, in_b: np.ndarray) -> EffectSize:
    """Standardised difference B minus A, corrected for small samples.

    g = J d with d the difference over the pooled standard deviation and J = 1 - 3 / (4 df - 1).
    The interval is g +- 1.96 s with s^2 = (n_a + n_b) / (n_a n_b) + g^2 / (2 (n_a + n_b))
    (Hedges and Olkin 1985, chapter 5): it is asymptotic, and a little short in groups under ten.
    """
    moments = Moments.of(values)
    found = moments.welch(in_b)
    n_a, n_b = found.n_a, found.n_b
    total = (moments.centred**2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = found.difference**2 * n_a * n_b / (n_a + n_b)
        df = n_a + n_b - 2
        pooled = np.sqrt(np.maximum(total - between, 0.0) / df)
        g = found.difference / pooled * (1 - 3 / (4 * df - 1))
        spread = np.sqrt((n_a + n_b) / (n_a * n_b) + g**2 / (2 * (n_a + n_b)))
    g = np.where(np.isfinite(found.t), g, np.nan)
    return EffectSize(g, g - 1.959964 * spread, g + 1.959964 * spread)


def power(effect: float, n_a: int, n_b: int, alpha: float) -> float:
    """Chance that a two-sided t-test finds a standardised difference of `effect`.

    From the noncentral t distribution (Cohen 1988, chapter 2), equal variances.
    """
    df, shift = n_a + n_b - 2, effect * np.sqrt(n_a * n_b / (n_a + n_b))
    limit = special.stdtrit(df, 1 - alpha / 2)
    lower, upper = special.nctdtr(df, shift, -limit), special.nctdtr(df, shift, limit)
    return float(1 - upper + np.nan_to_num(lower))  # far in the tail the lower one is not a number


def detectable_effect(n_a: int, n_b: int, alpha: float, wanted: float = 0.8) -> float:
    """Smallest standardised difference that is found with chance `wanted`."""
    largest = 1.0
    while power(largest, n_a, n_b, alpha) < wanted:
        largest *= 1.5
    return float(brentq(lambda d: power(d, n_a, n_b, alpha) - wanted, 0.0, largest, xtol=1e-4))


def alpha_of_q(q: float, n_genes: int, n_true: int, found: float = 0.8) -> float:
    """p that the Benjamini-Hochberg rule demands when `found` of `n_true` genes come out.

    Of the genes that pass, q are false: alpha (m - m1) = q / (1 - q) x found x m1 (Genovese and
    Wasserman 2002, doi 10.1111/1467-9868.00347). With one true gene that is about q / m.
    """
    return min(q / (1 - q) * found * n_true / max(n_genes - n_true, 1), 1.0)
