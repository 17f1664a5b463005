"""Calibration and power of the two-group tests on simulated attention and expression.

    python -m training.calibrate_differential null
    python -m training.calibrate_differential power

print the tables of docs/explanations.md. Attention is simulated as the shipped model gives it on
the melanoma cohort: positive, skewed also after the logarithm, in correlated blocks of genes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from xpert_core.explanation.moderated import moderated_t
from xpert_core.explanation.statistics import (
    benjamini_hochberg,
    permutation_test,
    relabellings,
    welch,
)

N_GENES = 978
BLOCK = 25
#: Skewness of the log: 0 at 0; about 0.9, 2.3 and 6 in theory at 0.3, 0.6 and 1.
SKEWS = (0.0, 0.3, 0.6)


def simulate(
    generator: np.random.Generator,
    n: int,
    n_genes: int = N_GENES,
    *,
    skew: float = 0.6,
    correlation: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Log2 attention without any difference between samples.

    Parameters
    ----------
    skew : float
        Shape of a shifted lognormal; see `SKEWS`.
    correlation : float
        Between genes of a block of `BLOCK`, before the skew.

    Returns
    -------
    values : ndarray, shape (n, n_genes)
    sd : ndarray, shape (n_genes,)
        Standard deviation of each gene.
    """
    block = np.arange(n_genes) // BLOCK
    common = generator.standard_normal((n, block[-1] + 1))[:, block]
    own = generator.standard_normal((n, n_genes))
    unit = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
    if skew:
        raised = np.exp(skew * unit) - np.exp(skew**2 / 2)
        unit = raised / np.sqrt((np.exp(skew**2) - 1) * np.exp(skew**2))
    sd = generator.uniform(0.1, 0.6, n_genes)
    return -10 + sd * unit, sd


def labels_of(n_a: int, n_b: int) -> np.ndarray:
    """Group of each row: A first."""
    return np.repeat([False, True], [n_a, n_b])


def p_values(
    values: np.ndarray,
    in_b: np.ndarray,
    *,
    draws: int = 1000,
    refined: Sequence[int] = (),
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """p of each gene by the three tests."""
    labels = relabellings(in_b, draws, seed)
    return {
        "Welch": welch(values, in_b).p,
        "moderated": moderated_t(values, in_b).p,
        "permutation": permutation_test(values, in_b, labels, refined=refined).p,
    }


@dataclass(frozen=True)
class Found:
    """Of planted genes: share found, and share of the found that were not planted."""

    power: float
    false: float


def planted(
    generator: np.random.Generator,
    sizes: tuple[int, int],
    effect: float,
    *,
    n_true: int = 30,
    q: float = 0.05,
    skew: float = 0.6,
    correlation: float = 0.5,
) -> dict[str, Found]:
    """Plant a shift of `effect` standard deviations in `n_true` genes and look for it."""
    in_b = labels_of(*sizes)
    values, sd = simulate(generator, len(in_b), skew=skew, correlation=correlation)
    genes = generator.choice(N_GENES, n_true, replace=False)
    sign = generator.choice([-1.0, 1.0], n_true)
    values[np.ix_(in_b, genes)] += effect * sd[genes] * sign
    true = np.isin(np.arange(N_GENES), genes)
    found = {}
    for name, p in p_values(values, in_b, draws=10_000, refined=(100_000,)).items():
        passes = benjamini_hochberg(p) <= q
        found[name] = Found(
            (passes & true).sum() / n_true, (passes & ~true).sum() / max(passes.sum(), 1)
        )
    return found


def _uniformity(sizes: tuple[int, int], repeats: int) -> None:
    print(f"\nNo difference, {sizes[0]} and {sizes[1]} patients, {repeats * N_GENES} genes")
    print("| skew | test | KS p | share p < 0.05 | share p < 0.001 | share t < 0 |")
    print("| --- | --- | --- | --- | --- | --- |")
    in_b = labels_of(*sizes)
    for skew in SKEWS:
        generator = np.random.default_rng(11)
        runs = [simulate(generator, len(in_b), skew=skew)[0] for _ in range(repeats)]
        below = np.mean([(welch(values, in_b).t < 0).mean() for values in runs])
        found = [p_values(values, in_b, draws=10_000) for values in runs]
        for name in found[0]:
            p = np.concatenate([one[name] for one in found])
            ks = stats.kstest(p, "uniform").pvalue
            print(
                f"| {skew} | {name} | {ks:.3g} | {(p < 0.05).mean():.4f} | "
                f"{(p < 0.001).mean():.5f} | {below:.3f} |"
            )


def _power(sizes: tuple[int, int], repeats: int) -> None:
    print(f"\n30 genes shifted, {sizes[0]} and {sizes[1]} patients, q 0.05, {repeats} data sets")
    print("| shift (sd) | test | power | false discoveries |")
    print("| --- | --- | --- | --- |")
    for effect in (0.75, 1.0, 1.5, 2.0):
        generator = np.random.default_rng(12)
        runs = [planted(generator, sizes, effect) for _ in range(repeats)]
        for name in runs[0]:
            power = np.mean([run[name].power for run in runs])
            false = np.mean([run[name].false for run in runs])
            print(f"| {effect} | {name} | {power:.2f} | {false:.3f} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["null", "power"])
    parser.add_argument("--repeats", type=int, default=10)
    given = parser.parse_args()
    for sizes in ((73, 29), (10, 39)):
        (_uniformity if given.part == "null" else _power)(sizes, given.repeats)


if __name__ == "__main__":
    main()
