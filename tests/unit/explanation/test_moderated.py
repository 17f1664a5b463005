"""Moderated t: against a gene-by-gene reading of the paper, and against a port of limma."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special, stats

from xpert_core.explanation.moderated import (
    fit_prior,
    moderated_change,
    moderated_t,
    trigamma_inverse,
)


def example() -> tuple[np.ndarray, np.ndarray]:
    """40 genes, 4 against 5 samples, variances drawn from the model's own prior."""
    generator = np.random.default_rng(42)
    sd = np.sqrt(4 * 0.3 / generator.chisquare(4, 40))
    generator.normal(7, 1, (9, 40))
    values = np.round(generator.normal(0, 1, (9, 40)) * sd + 7, 3)
    values[4:, :4] += 1
    return values, np.repeat([False, True], [4, 5])


def direct(values: np.ndarray, in_b: np.ndarray) -> tuple[list[float], list[float]]:
    """Equations of Smyth 2004, one gene after the other, by least squares and root finding."""
    design = np.column_stack([np.ones(len(in_b)), in_b])
    estimates = []
    for gene in values.T:
        rows = np.isfinite(gene)
        x, y = design[rows], gene[rows]
        beta, rest, _, _ = np.linalg.lstsq(x, y, rcond=None)
        df = rows.sum() - 2
        unscaled = np.linalg.inv(x.T @ x)[1, 1]
        estimates.append((beta[1], float(rest[0]) / df, df, unscaled))
    e = [np.log(s2) - special.psi(df / 2) + np.log(df / 2) for _, s2, df, _ in estimates]
    target = np.var(e, ddof=1) - np.mean([special.polygamma(1, df / 2) for *_, df, _ in estimates])
    half = optimize.brentq(lambda y: special.polygamma(1, y) - target, 1e-3, 1e3)
    d0, s0 = 2 * half, np.exp(np.mean(e) + special.psi(half) - np.log(half))
    t, p = [], []
    for beta, s2, df, unscaled in estimates:
        posterior = (d0 * s0 + df * s2) / (d0 + df)
        t.append(beta / np.sqrt(posterior * unscaled))
        p.append(2 * stats.t.sf(abs(t[-1]), d0 + df))
    return t, p


def test_numbers_of_a_limma_port() -> None:
    """Printed by `lmFit` and `eBayes` of inmoose 0.9.1 on the same table."""
    found = moderated_t(*example())
    assert found.prior.variance == pytest.approx(0.359638504531986, rel=1e-9)
    assert found.prior.df == pytest.approx(6.249123442150721, rel=1e-9)
    np.testing.assert_allclose(
        found.t[:4], [2.4317531586, 2.1455134645, 1.520988074, 2.7270972687], rtol=1e-9
    )
    np.testing.assert_allclose(
        found.p[:4], [0.0299177705, 0.0509949525, 0.151764763, 0.0170351595], rtol=1e-8
    )


def test_the_paper_gene_by_gene_with_gaps() -> None:
    values, in_b = example()
    values[0, 3] = values[6, 5] = values[8, 5] = np.nan
    t, p = direct(values, in_b)
    found = moderated_t(values, in_b)
    np.testing.assert_allclose(found.t, t, rtol=1e-7)
    np.testing.assert_allclose(found.p, p, rtol=1e-6)


def test_genes_that_vary_alike_are_tested_with_one_variance() -> None:
    generator = np.random.default_rng(0)
    variance = np.full(50, 2.0) * generator.uniform(0.99, 1.01, 50)
    prior = fit_prior(variance, np.full(50, 5.0))
    assert np.isinf(prior.df) and prior.variance == pytest.approx(variance.mean())
    np.testing.assert_array_equal(prior.squeeze(variance, np.full(50, 5.0)), prior.variance)


def test_genes_of_wild_variance_are_hardly_moderated() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(12, 300)) * np.exp(generator.normal(0, 4, 300))
    in_b = np.repeat([False, True], 6)
    found = moderated_t(values, in_b)
    assert found.prior.df < 1
    plain = stats.ttest_ind(values[in_b], values[~in_b], axis=0)
    loud = values.std(axis=0) > np.median(values.std(axis=0))
    assert stats.spearmanr(found.p[loud], plain.pvalue[loud])[0] > 0.999


def test_the_prior_is_recovered() -> None:
    generator = np.random.default_rng(2)
    variance = 8 * 0.5 / generator.chisquare(8, 20000) * generator.chisquare(10, 20000) / 10
    prior = fit_prior(variance, np.full(20000, 10.0))
    assert prior.df == pytest.approx(8, rel=0.1)
    assert prior.variance == pytest.approx(0.5, rel=0.03)


def test_a_pair_is_its_own_block() -> None:
    """Between-patient spread drops out; without a prior the test is the paired t-test."""
    generator = np.random.default_rng(3)
    patient = generator.normal(0, 5, (10, 1))
    before = patient + generator.normal(0, 0.3, (10, 200))
    after = patient + generator.normal(0, 0.3, (10, 200))
    after[:, :20] += 1
    found = moderated_change(after - before)
    assert (found.p[:20] < 0.001).all()
    rows = np.repeat([False, True], 10)
    unpaired = moderated_t(np.vstack([before, after]), rows)
    assert (unpaired.p[:20] > 0.05).all()
    paired = stats.ttest_rel(after, before, axis=0)
    assert stats.spearmanr(found.t, paired.statistic)[0] > 0.97
    np.testing.assert_allclose(found.difference, (after - before).mean(axis=0))


@pytest.mark.parametrize("x", [1e-8, 0.01, 1.0, 50.0, 1e8])
def test_trigamma_inverse(x: float) -> None:
    assert special.polygamma(1, trigamma_inverse(x)) == pytest.approx(x, rel=1e-5)


def test_genes_without_enough_values_have_no_p() -> None:
    values, in_b = example()
    values[:3, 0] = np.nan
    values[:, 1] = np.nan
    found = moderated_t(values, in_b)
    assert np.isnan(found.p[:2]).all() and np.isfinite(found.p[2:]).all()
