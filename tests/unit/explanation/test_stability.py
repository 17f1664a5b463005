"""Agreement of runs, against numbers made another way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cosine
from scipy.stats import spearmanr

from xpert_core.errors import ExplanationError
from xpert_core.explanation.stability import stability


def test_equals_scipy_pair_by_pair() -> None:
    values = np.random.default_rng(0).random((3, 9))
    found = stability(values, ["a", "b", "c"], list("ABCDEFGHI"))
    assert list(zip(found.pairs["first"], found.pairs["second"], strict=True)) == [
        ("a", "b"), ("a", "c"), ("b", "c"),
    ]  # fmt: skip
    for (i, j), row in zip([(0, 1), (0, 2), (1, 2)], found.pairs.itertuples(), strict=True):
        assert row.cosine == pytest.approx(1 - cosine(values[i], values[j]))
        assert row.spearman == pytest.approx(spearmanr(values[i], values[j]).statistic)
    assert found.mean_cosine == pytest.approx(found.pairs["cosine"].mean())
    assert found.items["cv"]["B"] == pytest.approx(values[:, 1].std(ddof=1) / values[:, 1].mean())
    assert found.mean_cv == pytest.approx(found.items["cv"].mean())


def test_equal_runs_agree_and_constant_scores_have_no_order() -> None:
    same = stability([np.arange(1.0, 5.0)] * 2, ["a", "b"], list("wxyz"))
    assert same.mean_cosine == pytest.approx(1) and same.mean_spearman == pytest.approx(1)
    assert same.mean_cv == 0
    flat = stability([np.ones(3), np.ones(3)], ["a", "b"], list("xyz"))
    assert flat.mean_cosine == pytest.approx(1) and np.isnan(flat.mean_spearman)


@pytest.mark.parametrize("shape", [(1, 5), (0, 0), (3, 1)])
def test_too_little_to_compare_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ExplanationError, match="two runs and two items"):
        stability(np.ones(shape), ["r"] * shape[0], ["i"] * shape[1])
