"""Expression tokens: edges, missing values, meaning across assays."""

from __future__ import annotations

import numpy as np
import pytest

from xpert_core.errors import DataError
from xpert_core.tokens.expression import ExpressionBins


def values() -> np.ndarray:
    return np.random.default_rng(0).gamma(3, 2, size=(20, 50)).astype(np.float32)


@pytest.mark.parametrize("kind", ["equidistant", "quantile"])
def test_tokens_grow_with_expression_and_stay_in_range(kind: str) -> None:
    x = values()
    bins = ExpressionBins.fit(x, kind)
    assert bins.n_tokens == 128
    tokens = bins.transform(np.sort(x.ravel()))
    assert (np.diff(tokens) >= 0).all()
    assert tokens.min() >= 0
    assert tokens.max() <= 127
    assert bins.transform(np.array([-100.0, 1e6])).tolist() == [0, 127]


def test_quantile_tokens_are_equally_frequent_and_survive_a_change_of_scale() -> None:
    x = values()
    tokens = ExpressionBins.fit(x, "quantile", 10).transform(x)
    counts = np.bincount(tokens.ravel(), minlength=10)
    assert counts.min() >= 95
    assert counts.max() <= 105
    warped = np.log2(x + 1)
    np.testing.assert_array_equal(
        ExpressionBins.fit(warped, "quantile", 10).transform(warped), tokens
    )


@pytest.mark.parametrize("kind", ["equidistant", "quantile"])
def test_tokens_survive_shift_and_stretch(kind: str) -> None:
    x = values().astype(np.float64)
    moved = 0.5 * x + 3
    a = ExpressionBins.fit(x, kind).transform(x)
    b = ExpressionBins.fit(moved, kind).transform(moved)
    assert (a != b).mean() < 0.001  # rounding at an edge


def test_missing_values_have_their_own_token_and_move_no_edge() -> None:
    x = values()
    holes = x.copy()
    holes[0, :5] = np.nan
    bins = ExpressionBins.fit(holes)
    assert (bins.transform(holes)[0, :5] == bins.n_tokens).all()
    np.testing.assert_array_equal(bins.edges, ExpressionBins.fit(holes[~np.isnan(holes)]).edges)


@pytest.mark.parametrize("bad", [np.full((2, 3), np.nan), np.ones((2, 3))])
def test_nothing_to_bin(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="cannot be binned"):
        ExpressionBins.fit(bad)
    with pytest.raises(DataError, match="not known"):
        ExpressionBins.fit(values(), "log")
