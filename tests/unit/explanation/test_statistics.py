"""Two-group tests against scipy, by hand, and calibrated under a null with skewed attention."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from training.calibrate_differential import labels_of, planted, simulate
from xpert_core.explanation.moderated import moderated_t
from xpert_core.explanation.statistics import (
    alpha_of_q,
    benjamini_hochberg,
    detectable_effect,
    hedges,
    permutation_test,
    power,
    relabellings,
    welch,
)

N_A, N_B = 73, 29  # the published comparison


def test_welch_is_that_of_scipy_with_gaps_and_a_constant_gene() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(8, 2, (20, 6))
    values[3, 1] = values[15, 1] = np.nan
    values[:, 4] = 3.0
    values[:12, 5] = np.nan  # one value of A is left
    values[11, 5] = 1.0
    in_b = labels_of(12, 8)
    found = welch(values, in_b)
    expected = stats.ttest_ind(
        values[in_b], values[~in_b], equal_var=False, nan_policy="omit", axis=0
    )
    np.testing.assert_allclose(found.t[:4], expected.statistic[:4], rtol=1e-9)
    np.testing.assert_allclose(found.p[:4], expected.pvalue[:4], rtol=1e-9)
    assert np.isnan(found.p[4]) and np.isnan(found.p[5])
    np.testing.assert_allclose(
        found.difference[1], np.nanmean(values[in_b, 1]) - np.nanmean(values[~in_b, 1])
    )


def test_the_fold_change_is_no_sample() -> None:
    """The published notebook tested a table that held its own ratio (audit D-38)."""
    generator = np.random.default_rng(1)
    values = 2.0 ** generator.normal(9, 0.4, (N_A + N_B, 500))
    in_b = labels_of(N_A, N_B)
    ratio = values[in_b].mean(axis=0) / values[~in_b].mean(axis=0)
    published = stats.ttest_ind(np.vstack([values[in_b], ratio]), values[~in_b], axis=0).statistic
    assert (published < 0).mean() > 0.65
    assert 0.42 < (welch(np.log2(values), in_b).t < 0).mean() < 0.58


def test_all_relabellings_of_small_groups_give_the_exact_p() -> None:
    values = np.array([[1.0, 5.0], [2.0, 4.0], [3.5, 9.0], [7.0, 4.5], [8.0, 5.5], [9.5, 6.0]])
    in_b = labels_of(3, 3)
    ways = relabellings(in_b)
    assert ways.complete and len(ways) == 20 and len(np.unique(ways.in_b, axis=0)) == 20
    found = permutation_test(values, in_b, ways)
    for gene in range(2):
        observed = abs(stats.ttest_ind(values[3:, gene], values[:3, gene], equal_var=False)[0])
        every = []
        for chosen in combinations(range(6), 3):
            rest = [i for i in range(6) if i not in chosen]
            pair = values[list(chosen), gene], values[rest, gene]
            every.append(abs(stats.ttest_ind(*pair, equal_var=False)[0]))
        expected = np.mean(np.array(every) >= observed - 1e-9)
        assert found.p[gene] == pytest.approx(expected)
    assert found.p[0] == pytest.approx(0.1)  # separated groups: 2 ways of 20
    assert found.exact


def test_random_relabellings_never_give_zero_and_are_refined_in_the_tail() -> None:
    generator = np.random.default_rng(2)
    values = generator.normal(size=(30, 3))
    values[:15, 0] += 20.0
    in_b = labels_of(15, 15)
    ways = relabellings(in_b, 1000)
    assert not ways.complete and (ways.in_b.sum(axis=1) == 15).all()
    found = permutation_test(values, in_b, ways, refined=(6000,))
    assert found.p[0] == pytest.approx(1 / 6001)
    assert found.p_max[0] == pytest.approx(1 / 1001)
    assert found.p[1:].min() > 0.01
    coarse = permutation_test(values, in_b, ways, refined=())
    assert coarse.p[0] == pytest.approx(1 / 1001)
    np.testing.assert_array_equal(coarse.p[1:], found.p[1:])


def test_benjamini_hochberg_is_that_of_scipy_and_leaves_gaps_out() -> None:
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005, 0.9])
    q = benjamini_hochberg(p)
    np.testing.assert_allclose(q[~np.isnan(p)], stats.false_discovery_control(p[~np.isnan(p)]))
    assert np.isnan(q[2])
    np.testing.assert_allclose(benjamini_hochberg(np.stack([p, p[::-1]]))[1], q[::-1])


def test_hedges_g_by_hand() -> None:
    values = np.array([[1.0], [2.0], [3.0], [3.0], [5.0]])
    found = hedges(values, labels_of(3, 2))
    pooled = np.sqrt((2 * 1.0 + 1 * 2.0) / 3)
    g = (4 - 2) / pooled * (1 - 3 / (4 * 3 - 1))
    spread = np.sqrt(5 / 6 + g**2 / 10)
    assert found.g[0] == pytest.approx(g)
    assert found.low[0] == pytest.approx(g - 1.959964 * spread)


def test_the_interval_of_g_covers_the_truth() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(size=(49, 4000))
    values[10:] += 0.8
    found = hedges(values, labels_of(10, 39))
    covered = ((found.low <= 0.8) & (found.high >= 0.8)).mean()
    assert 0.93 < covered < 0.97


def test_power_is_what_a_simulation_finds() -> None:
    generator = np.random.default_rng(4)
    values = generator.normal(size=(49, 5000))
    values[10:] += 1.0
    p = stats.ttest_ind(values[10:], values[:10], axis=0).pvalue
    assert power(1.0, 10, 39, 0.05) == pytest.approx((p < 0.05).mean(), abs=0.02)
    needed = detectable_effect(10, 39, 0.05)
    assert power(needed, 10, 39, 0.05) == pytest.approx(0.8, abs=1e-3)
    assert detectable_effect(10, 39, alpha_of_q(0.05, 978, 1)) > needed
    assert alpha_of_q(0.05, 978, 1, found=1.0) == pytest.approx(0.05 / 0.95 / 977)


@pytest.mark.parametrize("sizes", [(N_A, N_B), (10, 39)])
def test_p_values_are_uniform_and_signs_balanced_without_a_difference(
    sizes: tuple[int, int],
) -> None:
    generator = np.random.default_rng(5)
    in_b = labels_of(*sizes)
    values = simulate(generator, len(in_b))[0]
    p = permutation_test(values, in_b, relabellings(in_b, 1000), refined=()).p
    assert stats.kstest(p, "uniform").pvalue > 0.01
    # A single gene's expression is nearly normal: the parametric tests are checked there.
    normal = generator.normal(8, generator.uniform(0.3, 1.5, 978), (len(in_b), 978))
    for p in (welch(normal, in_b).p, moderated_t(normal, in_b).p):
        assert stats.kstest(p, "uniform").pvalue > 0.01
    for t in (welch(normal, in_b).t, moderated_t(normal, in_b).t):
        assert stats.binomtest(int((t < 0).sum()), 978).pvalue > 0.01


def test_the_parametric_test_is_not_calibrated_for_skewed_attention_in_small_groups() -> None:
    """Why permutation decides for attention: Welch's p is too small there."""
    in_b = labels_of(10, 39)
    values = simulate(np.random.default_rng(6), 49, 3000, skew=1.0)[0]
    assert (welch(values, in_b).p < 0.05).mean() > 0.07
    exact = permutation_test(values, in_b, relabellings(in_b, 1000), refined=()).p
    assert 0.038 < (exact < 0.05).mean() < 0.062


def test_planted_effects_are_found_at_the_stated_q() -> None:
    """30 of 978 genes, correlated and skewed, in groups as unequal as the published ones."""
    generator = np.random.default_rng(7)
    for name, found in planted(generator, (N_A, N_B), 1.0).items():
        assert found.power > 0.75, name
        assert found.false < 0.15, name


def test_the_seed_reaches_the_relabellings_of_the_tail() -> None:
    generator = np.random.default_rng(3)
    in_b = np.arange(30) < 12
    values = generator.normal(size=(30, 1))
    values[in_b] += 1.6
    first = relabellings(in_b, 500)
    found = [
        permutation_test(values, in_b, replace(first, seed=seed), refined=(20_000,)).p[0]
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]
