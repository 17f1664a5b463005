"""Agreement and enrichment, against exact enumeration and scipy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, spearmanr

from xpert_core.errors import ExplanationError
from xpert_core.explanation import agreement as module
from xpert_core.explanation.agreement import (
    Enrichment,
    agreement,
    draw_nulls,
    enrichment,
    top_size,
)

#: A chain of eight atoms.
CHAIN = [[j for j in (i - 1, i + 1) if 0 <= j < 8] for i in range(8)]
ELEMENTS = list("CCCNCOCN")


def measured(
    scores: np.ndarray,
    marked: np.ndarray,
    untrained: np.ndarray | None = None,
    permutations: int = 2000,
) -> Enrichment:
    nulls = draw_nulls(marked, ELEMENTS, CHAIN, permutations=permutations)
    return enrichment(scores, marked, nulls, untrained)


def test_numbers_equal_scipy_and_counting() -> None:
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(rng.random((20, 3)), columns=["a", "b", "c"])
    found = agreement(scores).set_index(["first", "second"])
    assert len(found) == 3
    for (first, second), row in found.iterrows():
        expected = spearmanr(scores[first], scores[second])
        assert row["spearman"] == pytest.approx(expected.statistic)
        assert row["spearman_p"] == pytest.approx(expected.pvalue, abs=0.04)
        tops = [set(scores[name].nlargest(4).index) for name in (first, second)]
        assert row["overlap"] == pytest.approx(len(tops[0] & tops[1]))
        assert row["top_k"] == 4 and row["overlap_expected"] == pytest.approx(0.8)


def test_p_values_are_uniform_under_the_null_and_small_when_scores_agree() -> None:
    rng = np.random.default_rng(1)
    tables = [pd.DataFrame(rng.random((25, 2)), columns=["a", "b"]) for _ in range(200)]
    p = [agreement(t, permutations=400, seed=i)["spearman_p"][0] for i, t in enumerate(tables)]
    assert kstest(p, "uniform").pvalue > 0.01
    close = tables[0].assign(b=tables[0]["a"] + 0.1 * tables[0]["b"])
    assert agreement(close)["spearman_p"][0] < 0.001
    assert agreement(close)["overlap_p"][0] < 0.01


def test_ties_count_in_part_and_constant_scores_have_no_agreement() -> None:
    scores = pd.DataFrame({"a": [3.0, 2.0, 1.0, 1.0, 1.0], "b": [1.0] * 5, "c": [5.0, 4, 3, 2, 1]})
    found = agreement(scores).set_index(["first", "second"])
    assert top_size(5) == 3
    # Third place of a is shared by three atoms, one of which is in the top of c.
    assert found.loc[("a", "c"), "overlap"] == pytest.approx(2 + 1 / 3)
    assert np.isnan(found.loc[("a", "b"), "spearman"])
    assert np.isnan(found.loc[("a", "b"), "overlap_p"])
    with pytest.raises(ExplanationError, match="needs 3 atoms"):
        agreement(scores.head(2))


def test_permutation_p_is_the_exact_one() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random(8)
    marked = np.zeros(8, dtype=bool)
    marked[[1, 4, 6]] = True
    found = measured(scores, marked, permutations=8000)
    assert found.fold == pytest.approx(scores[marked].mean() / scores.mean())
    sums = [scores[list(c)].sum() for c in combinations(range(8), 3)]
    exact = np.mean([s >= scores[marked].sum() - 1e-12 for s in sums])
    assert found.p_atoms == pytest.approx(exact, abs=0.025)
    # All three marked atoms are carbons, of five.
    carbons = [i for i, e in enumerate(ELEMENTS) if e == "C"]
    sums = [scores[list(c)].sum() for c in combinations(carbons, 3)]
    exact = np.mean([s >= scores[marked].sum() - 1e-12 for s in sums])
    assert found.p_elements == pytest.approx(exact, abs=0.025)
    assert np.isnan(found.p_untrained) and np.isnan(found.fold_untrained)


def test_an_element_that_is_wholly_marked_can_show_nothing() -> None:
    marked = np.array([e == "N" for e in ELEMENTS])
    scores = np.where(marked, 10.0, 1.0)
    found = measured(scores, marked)
    assert found.p_elements == 1.0 and found.p_atoms < 0.05


def test_connected_pieces_are_connected_and_of_the_sizes_marked() -> None:
    marked = np.array([1, 1, 1, 0, 0, 1, 1, 0], dtype=bool)
    draws = module._connected(marked, CHAIN, 300, np.random.default_rng(0))
    assert (draws.sum(axis=1) == 5).all()
    lengths = {tuple(sorted(len(piece) for piece in module._pieces(row, CHAIN))) for row in draws}
    # Two pieces that touch look like one of five.
    assert lengths == {(2, 3), (5,)}
    assert len({tuple(row) for row in draws}) > 5


def test_contiguous_high_scores_are_less_surprising_among_pieces() -> None:
    scores = np.array([1, 1, 5, 6, 5, 1, 1, 1.0])
    marked = np.array([0, 0, 1, 1, 1, 0, 0, 0], dtype=bool)
    found = measured(scores, marked, permutations=8000)
    assert found.p_atoms == pytest.approx(1 / 56, abs=0.006)
    assert found.p_connected > 3 * found.p_atoms


def test_untrained_networks_are_a_null_of_their_own() -> None:
    marked = np.array([1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    scores = np.where(marked, 2.0, 1.0)
    nulls = np.ones((19, 8))
    assert measured(scores, marked, nulls).p_untrained == pytest.approx(0.05)
    nulls[:, :2] = 9.0
    found = measured(scores, marked, nulls)
    assert found.p_untrained == 1.0
    assert found.fold_untrained == pytest.approx(9 / ((18 + 6) / 8))


@pytest.mark.parametrize("value", [True, False])
def test_nothing_to_compare_is_refused(value: bool) -> None:
    with pytest.raises(ExplanationError, match="nothing can be compared"):
        draw_nulls(np.full(8, value), ELEMENTS, CHAIN)
