"""What a model without noise could reach, from replicates: against one that knows the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xpert_core.benchmark.ceiling import agreement_rows, pair_rows, reachable
from xpert_core.evaluation.metrics.rows import pearson_rows
from xpert_core.tokens.dataset import TrainingData

DATA = Path(__file__).parents[3] / "tests" / "data" / "l1000_small.safetensors"


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.load(DATA)


def test_the_mean_over_rows_is_the_mean_over_pairs_of_single_replicates(data: TrainingData) -> None:
    condition = np.arange(len(data))
    condition[[0, 3, 5]], condition[[1, 2]] = len(data), len(data) + 1
    x_deg = data.x_deg.copy()
    x_deg[2] = 1.5  # a constant row
    found = pair_rows(replace(data, x_deg=x_deg), condition)
    r = np.corrcoef(x_deg[[0, 3, 5]])
    np.testing.assert_allclose(found[[0, 3, 5]], (r.sum(axis=1) - 1) / 2, atol=1e-6)
    assert found[[0, 3, 5]].mean() == pytest.approx((r[0, 1] + r[0, 2] + r[1, 2]) / 3, abs=1e-6)
    np.testing.assert_array_equal(found[[1, 2]], 0)
    assert np.isnan(np.delete(found, [0, 1, 2, 3, 5])).all()
    assert np.isnan(pair_rows(data, np.arange(len(data)))).all()


@pytest.mark.parametrize("k", [2, 4, 10])
def test_a_model_that_knows_the_truth_reaches_it_whatever_the_number_of_replicates(
    data: TrainingData, k: int
) -> None:
    rng = np.random.default_rng(k)
    n = len(data) // k * k
    condition = np.arange(len(data)) // k
    condition[n:] = np.arange(len(data) - n) + n  # the rest stands alone
    truth = rng.normal(size=(condition.max() + 1, 978))[condition]
    noisy = truth + 1.5 * rng.normal(size=truth.shape)
    measured = replace(data, x_deg=noisy.astype(np.float32))
    perfect = pearson_rows(noisy, truth)[:n].mean()
    found = reachable(pair_rows(measured, condition)[:n])
    assert found == pytest.approx(perfect, abs=0.01)
    agreement = np.sqrt(agreement_rows(measured, condition)[:n].mean())
    if k > 2:  # the root of the agreement with a mean is no such number
        assert agreement > perfect + 0.05


def test_replicates_that_disagree_leave_nothing_to_reach() -> None:
    assert reachable(np.array([-0.2, 0.1])) == 0
    assert reachable(np.array([0.16, 0.34])) == pytest.approx(0.5)
