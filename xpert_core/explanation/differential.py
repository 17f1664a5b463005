"""Genes that differ between two groups, beside what chance alone would let pass.

The published volcano took its own fold change as one more sample, tested pairs as if they were
not, and corrected for nothing (audit D-38, D-39). Here the table holds samples and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from xpert_core.errors import ExplanationError
from xpert_core.explanation.moderated import moderated_change, moderated_t
from xpert_core.explanation.progress import Steps
from xpert_core.explanation.statistics import (
    NOMINAL,
    REFINED,
    Moments,
    Relabellings,
    benjamini_hochberg,
    chunks,
    hedges,
    permutation_test,
    welch,
)

#: Relabellings for p-values of genes, and for the number of genes that pass.
N_PERMUTATIONS = 10_000
N_COUNTED = 1_000
#: Random draws from the larger group when counts are compared.
N_SUBSAMPLES = 100
#: Labellings and draws tested between two looks at whether the user stopped it.
COUNT_CHUNK, DRAW_CHUNK = 100, 10


@dataclass(frozen=True)
class Thresholds:
    """What a gene must reach to pass; the user's choice.

    Attributes
    ----------
    q : float
        Largest Benjamini-Hochberg q.
    log2_ratio : float
        Smallest absolute log2 ratio (B over A).

    Raises
    ------
    ExplanationError
        If q is not between 0 and 1, or the ratio is negative.
    """

    q: float = 0.05
    log2_ratio: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.q <= 1:
            raise ExplanationError(
                f"The largest q is {self.q:g}.", fix="Give a number above 0 and up to 1."
            )
        if not 0 <= self.log2_ratio < np.inf:
            raise ExplanationError(
                f"The smallest log2 ratio is {self.log2_ratio:g}.", fix="Give 0 or more."
            )

    def passes(self, difference: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Which genes pass; last axis is genes."""
        with np.errstate(invalid="ignore"):
            return (benjamini_hochberg(p) <= self.q) & (np.abs(difference) >= self.log2_ratio)


@dataclass(frozen=True)
class Tested:
    """Difference B minus A (log2), statistic and two-sided p, each of shape (G,)."""

    difference: np.ndarray
    t: np.ndarray
    p: np.ndarray


#: A two-group test: values (N, G) and group of each row -> result by gene.
Test = Callable[[np.ndarray, np.ndarray], Tested]


def welch_test(values: np.ndarray, in_b: np.ndarray) -> Tested:
    """Welch's t-test, as a `Test`."""
    found = welch(values, in_b)
    return Tested(found.difference, found.t, found.p)


def moderated_test(values: np.ndarray, in_b: np.ndarray) -> Tested:
    """The moderated t-test of limma, as a `Test`."""
    found = moderated_t(values, in_b)
    return Tested(found.difference, found.t, found.p)


#: What a table of each test says its t and p are.
STATISTICS: dict[Test, str] = {moderated_test: "moderated t", welch_test: "Welch's t"}


@dataclass(frozen=True)
class CountNull:
    """How many genes reach a limit by the test's own p when the group labels mean nothing.

    The count is a statistic like any other: it is set against its values under relabelling, so
    the comparison holds also where the test's p is too small.

    Attributes
    ----------
    observed, observed_nominal : int
        Genes within the thresholds, and with p < 0.05, with the true labels.
    counts, counts_nominal : ndarray of int64, shape (P,)
        The same by relabelling.
    p, p_nominal : float
        Chance of at least as many genes with meaningless labels.
    t : ndarray of float64, shape (P, G)
        Statistics, for the null of gene sets.
    complete : bool
        Whether all relabellings are there.
    """

    observed: int
    observed_nominal: int
    counts: np.ndarray
    counts_nominal: np.ndarray
    p: float
    p_nominal: float
    t: np.ndarray
    complete: bool


@dataclass(frozen=True)
class Differential:
    """One measure compared between two groups.

    Attributes
    ----------
    measure : str
        What the numbers are, in words.
    statistic : str
        Name of the test whose ``t``, ``p`` and ``q`` the table holds.
    table : DataFrame, n_genes rows
        Index ``gene``. ``mean_a``, ``mean_b`` (log2), ``log2_ratio`` (B over A, of geometric
        means), ``log2_ratio_of_means`` (of arithmetic means, as published), ``t``, ``p``, ``q``,
        ``permutation_p``, ``permutation_q``, ``p_max`` (against the largest statistic of all
        genes), ``hedges_g``, ``g_low``, ``g_high``, ``passes``, ``higher_in`` ("A", "B" or "").
    null : CountNull
    maxima : ndarray of float64
        Largest absolute Welch t over genes, by relabelling.
    maximum : float
        The same with the true labels.
    thresholds : Thresholds
    by_permutation : bool
        Whether the permutation p decided which genes pass.
    smallest_p : float
        Smallest permutation p these group sizes can give, where all relabellings are counted; 0
        where they are drawn.
    """

    measure: str
    statistic: str
    table: pd.DataFrame
    null: CountNull
    maxima: np.ndarray
    maximum: float
    thresholds: Thresholds
    by_permutation: bool
    smallest_p: float

    @property
    def deciding_p(self) -> pd.Series:
        """The p that the thresholds were applied to."""
        return self.table["permutation_p" if self.by_permutation else "p"]

    @property
    def deciding_q(self) -> pd.Series:
        """The q that the thresholds were applied to."""
        return self.table["permutation_q" if self.by_permutation else "q"]

    @property
    def warning(self) -> str:
        """Why no gene could pass whatever it did; "" where that is not so."""
        if self.by_permutation and self.smallest_p > self.thresholds.q:
            return (
                f"Groups of this size have so few relabellings that no permutation p can be under "
                f"{self.smallest_p:.3g}: no gene can pass at q {self.thresholds.q:g}."
            )
        return ""

    @property
    def passing(self) -> pd.Index:
        """Genes that pass, smallest p first."""
        return self.table.index[self.table["passes"]]

    @property
    def n_tested(self) -> int:
        """Genes with a p-value."""
        return int(self.table["p"].notna().sum())


def compare_groups(
    values: np.ndarray,
    in_b: np.ndarray,
    genes: Sequence[str],
    *,
    measure: str,
    test: Test,
    labels: Relabellings,
    thresholds: Thresholds | None = None,
    by_permutation: bool = False,
    refined: Sequence[int] = REFINED,
    steps: Steps | None = None,
) -> Differential:
    """Test every gene, with permutation p-values, effect sizes and the null of the count.

    Parameters
    ----------
    values : ndarray, shape (N, G)
        log2 values, one row a patient; NaN = not measured.
    in_b : ndarray of bool, shape (N,)
    genes : sequence of str, length G
    measure : str
    test : Test
        One of `STATISTICS`; gives ``t``, ``p`` and ``q``. Permutation p-values are of Welch's t,
        whatever the test.
    labels : Relabellings
        The first `N_COUNTED` of them serve the null of the count.
    thresholds : Thresholds, optional
    by_permutation : bool
        Whether the permutation p decides which genes pass, or the test's own.
    refined : sequence of int
        As of `permutation_test`; used where the permutation p decides.
    steps : Steps, optional
    """
    thresholds = thresholds or Thresholds()
    found = test(values, in_b)
    more = refined if by_permutation else ()
    permuted = permutation_test(values, in_b, labels, steps, refined=more)
    null = count_null(values, in_b, test, labels, thresholds, steps)
    effect = hedges(values, in_b)
    deciding = permuted.p if by_permutation else found.p
    with np.errstate(invalid="ignore"):
        linear_a, linear_b = (_mean(2.0 ** values[rows]) for rows in (~in_b, in_b))
        higher = np.select([found.difference > 0, found.difference < 0], ["B", "A"], "")
    table = pd.DataFrame(
        {
            "mean_a": _mean(values[~in_b]),
            "mean_b": _mean(values[in_b]),
            "log2_ratio": found.difference,
            "log2_ratio_of_means": np.log2(linear_b / linear_a),
            "t": found.t,
            "p": found.p,
            "q": benjamini_hochberg(found.p),
            "permutation_p": permuted.p,
            "permutation_q": benjamini_hochberg(permuted.p),
            "p_max": permuted.p_max,
            "hedges_g": effect.g,
            "g_low": effect.low,
            "g_high": effect.high,
            "passes": thresholds.passes(found.difference, deciding),
            "higher_in": higher,
        },
        index=pd.Index(list(genes), name="gene"),
    )
    order = np.lexsort((-np.abs(np.nan_to_num(found.t)), np.where(np.isnan(deciding), 2, deciding)))
    floor = 1 / permuted.n if permuted.exact else 0.0
    return Differential(
        measure,
        STATISTICS[test],
        table.iloc[order],
        null,
        permuted.maxima,
        permuted.maximum,
        thresholds,
        by_permutation,
        floor,
    )


def count_null(
    values: np.ndarray,
    in_b: np.ndarray,
    test: Test,
    labels: Relabellings,
    thresholds: Thresholds,
    steps: Steps | None = None,
) -> CountNull:
    """Genes that pass under relabellings; see `CountNull`."""
    complete = labels.complete and len(labels) <= N_COUNTED
    chosen = labels.in_b
    if len(labels) > N_COUNTED:
        # A complete list is ordered: its first thousand are no random draw.
        picks = np.random.default_rng(labels.seed).choice(len(labels), N_COUNTED, replace=False)
        chosen = chosen[np.sort(picks)] if labels.complete else chosen[:N_COUNTED]
    difference, t, p = _tested(values, np.vstack([in_b, chosen]), test, steps)
    passing = thresholds.passes(difference, p).sum(axis=1)
    with np.errstate(invalid="ignore"):
        nominal = (p < NOMINAL).sum(axis=1)
    used = Relabellings(chosen, complete, labels.seed)
    chances = [float(used.p((c[1:] >= c[0]).sum())) for c in (passing, nominal)]
    return CountNull(
        int(passing[0]),
        int(nominal[0]),
        passing[1:],
        nominal[1:],
        chances[0],
        chances[1],
        t[1:],
        complete,
    )


_FIELDS = ("difference", "t", "p")


def _tested(
    values: np.ndarray, labels: np.ndarray, test: Test, steps: Steps | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference, t and p for each labelling, each of shape (P, G)."""
    moments = Moments.of(values)
    found: list[tuple[np.ndarray, ...]] = []
    for rows in chunks(len(labels), COUNT_CHUNK):
        if steps is not None:
            steps.begin("Genes that pass under permuted labels")
        if test is welch_test:  # many labellings at a time
            many = moments.welch(labels[rows])
            found.append((many.difference, many.t, many.p))
        else:
            each = [test(values, row) for row in labels[rows]]
            stacked = (np.stack([getattr(one, name) for one in each]) for name in _FIELDS)
            found.append((next(stacked), next(stacked), next(stacked)))
    difference, t, p = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return difference, t, p


@dataclass(frozen=True)
class Overlap:
    """What two measures of the same patients agree on.

    Attributes
    ----------
    both, only_first, only_second : tuple of str
        Genes that pass in both, or in one alone.
    same_direction : int
        Genes of `both` that are higher in the same group.
    p : float
        Chance of at least so many common genes if the lists were drawn apart (hypergeometric).
    expected : float
        Common genes expected by that chance.
    correlation : float
        Spearman's correlation of the log2 ratios over all genes.
    n_genes : int
        Genes tested in both measures.
    """

    both: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    same_direction: int
    p: float
    expected: float
    correlation: float
    n_genes: int


def overlap(first: Differential, second: Differential) -> Overlap:
    """Compare the lists of two measures, over genes tested in both."""
    one, two = first.table, second.table.reindex(first.table.index)
    known = one["p"].notna() & two["p"].notna()
    one, two = one[known], two[known]
    in_one, in_two = one["passes"].astype(bool), two["passes"].astype(bool)
    common = in_one & in_two
    n, k1, k2 = len(one), int(in_one.sum()), int(in_two.sum())
    p = float(stats.hypergeom.sf(common.sum() - 1, n, k1, k2)) if k1 and k2 else np.nan
    return Overlap(
        tuple(one.index[common]),
        tuple(one.index[in_one & ~in_two]),
        tuple(one.index[in_two & ~in_one]),
        int((one["higher_in"] == two["higher_in"])[common].sum()),
        p,
        k1 * k2 / n if n else np.nan,
        float(stats.spearmanr(one["log2_ratio"], two["log2_ratio"])[0]) if n > 2 else np.nan,
        n,
    )


@dataclass(frozen=True)
class BalancedCount:
    """Genes that pass when groups are cut to one size.

    Attributes
    ----------
    size : int
        Patients a group after the cut.
    counts : ndarray of int64, shape (n_draws,)
    """

    size: int
    counts: np.ndarray

    def __str__(self) -> str:
        low, middle, high = np.quantile(self.counts, [0.05, 0.5, 0.95])
        return f"{middle:.0f} genes ({low:.0f} to {high:.0f}) at {self.size} patients a group"


def balanced_count(
    values: np.ndarray,
    in_b: np.ndarray,
    test: Test,
    thresholds: Thresholds,
    *,
    draws: int = N_SUBSAMPLES,
    seed: int = 0,
    steps: Steps | None = None,
) -> BalancedCount:
    """Genes that pass when the larger group is drawn down to the smaller, again and again.

    A count of significant genes grows with the groups, so counts of two comparisons may be set
    side by side only at equal sizes.
    """
    size = int(min(in_b.sum(), (~in_b).sum()))
    generator = np.random.default_rng(seed)
    counts = []
    for number in range(1 if 2 * size == len(in_b) else draws):
        if steps is not None and number % DRAW_CHUNK == 0:
            steps.begin("Groups of equal size")
        rows = np.concatenate(
            [generator.choice(np.flatnonzero(side), size, replace=False) for side in (~in_b, in_b)]
        )
        found = test(values[rows], in_b[rows])
        counts.append(thresholds.passes(found.difference, found.p).sum())
    return BalancedCount(size, np.array(counts))


def balanced_changes(
    change: np.ndarray,
    in_b: np.ndarray,
    thresholds: Thresholds,
    *,
    draws: int = N_SUBSAMPLES,
    seed: int = 0,
) -> tuple[BalancedCount, BalancedCount]:
    """Genes that change under treatment in A and in B, at equal numbers of patients.

    Parameters
    ----------
    change : ndarray, shape (N, G)
        After minus before, log2, one row a patient.
    in_b : ndarray of bool, shape (N,)
    """
    size = int(min(in_b.sum(), (~in_b).sum()))
    generator = np.random.default_rng(seed)
    found = []
    for side in (~in_b, in_b):
        rows = np.flatnonzero(side)
        counts = []
        for _ in range(1 if len(rows) == size else draws):
            result = moderated_change(change[generator.choice(rows, size, replace=False)])
            counts.append(thresholds.passes(result.difference, result.p).sum())
        found.append(BalancedCount(size, np.array(counts)))
    return found[0], found[1]


def change_table(
    change: np.ndarray, genes: Sequence[str], thresholds: Thresholds | None = None
) -> pd.DataFrame:
    """Genes that change under treatment: moderated paired t, each patient its own block.

    Returns
    -------
    DataFrame
        Index ``gene``; ``log2_ratio`` (after over before), ``t``, ``p``, ``q``, ``passes``.
    """
    thresholds = thresholds or Thresholds()
    found = moderated_change(change)
    table = pd.DataFrame(
        {
            "log2_ratio": found.difference,
            "t": found.t,
            "p": found.p,
            "q": benjamini_hochberg(found.p),
            "passes": thresholds.passes(found.difference, found.p),
        },
        index=pd.Index(list(genes), name="gene"),
    )
    return table.sort_values("p", kind="stable")


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean of each column without its gaps; NaN where there is nothing."""
    present = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(present, values, 0.0).sum(axis=0) / present.sum(axis=0)
