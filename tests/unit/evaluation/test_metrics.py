"""Scores equal NumPy's; intervals resample groups."""

from __future__ import annotations

import numpy as np

from xpert_core.evaluation.metrics import bootstrap_mean, pearson_rows


def test_pearson_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30, 200))
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(pearson_rows(a, b), expected, atol=1e-12)


def test_a_constant_row_scores_zero() -> None:
    rng = np.random.default_rng(0)
    assert pearson_rows(np.ones((1, 9)), rng.normal(size=(1, 9))).tolist() == [0.0]


def test_interval_follows_groups_not_rows() -> None:
    rng = np.random.default_rng(0)
    effects = rng.normal(size=10)
    groups = np.repeat(np.arange(10), 100)
    values = effects[groups] + 0.01 * rng.normal(size=1000)
    by_group = bootstrap_mean(values, groups)
    by_row = bootstrap_mean(values, np.arange(1000))
    assert by_group.low <= by_group.mean <= by_group.high
    assert by_group.high - by_group.low > 3 * (by_row.high - by_row.low)
    assert (by_group.n_rows, by_group.n_groups) == (1000, 10)
    assert str(by_group).startswith(f"{by_group.mean:.3f} [")
