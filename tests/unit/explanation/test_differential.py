"""Two groups compared: tables, thresholds, nulls, overlap and counts at equal sizes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from xpert_core.errors import ExplanationError, PredictionCancelled
from xpert_core.explanation.differential import (
    Differential,
    Test,
    Thresholds,
    balanced_changes,
    balanced_count,
    change_table,
    compare_groups,
    count_null,
    moderated_test,
    overlap,
    welch_test,
)
from xpert_core.explanation.progress import Steps
from xpert_core.explanation.statistics import relabellings

GENES = [f"G{i}" for i in range(200)]


def data(seed: int = 0, *, shift: float = 0.0, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """200 genes, the first ten higher in B by `shift`, the next ten lower."""
    generator = np.random.default_rng(seed)
    in_b = np.arange(n) % 2 == 1
    values = generator.normal(-9, 0.5, (n, 200))
    values[np.ix_(in_b, np.arange(10))] += shift
    values[np.ix_(in_b, np.arange(10, 20))] -= shift
    return values, in_b


def compared(values: np.ndarray, in_b: np.ndarray, **options: object) -> Differential:
    given = {"test": welch_test, "measure": "m", "labels": relabellings(in_b, 1000), "refined": (),
             **options}  # fmt: skip
    return compare_groups(values, in_b, GENES, **given)  # type: ignore[arg-type]


def test_the_table_is_b_over_a_and_names_the_group() -> None:
    values, in_b = data(shift=1.0)
    table = compared(values, in_b).table
    gene = table.loc["G3"]
    assert gene["log2_ratio"] == pytest.approx(values[in_b, 3].mean() - values[~in_b, 3].mean())
    linear = 2.0**values
    assert gene["log2_ratio_of_means"] == pytest.approx(
        np.log2(linear[in_b, 3].mean() / linear[~in_b, 3].mean())
    )
    assert gene["higher_in"] == "B" and table.loc["G13", "higher_in"] == "A"
    assert gene["p"] == pytest.approx(
        stats.ttest_ind(values[in_b, 3], values[~in_b, 3], equal_var=False).pvalue
    )
    assert set(table.index[:20]) == set(GENES[:20])
    assert table["p"].is_monotonic_increasing


def test_thresholds_are_the_users() -> None:
    values, in_b = data(shift=0.8)
    loose = compared(values, in_b, thresholds=Thresholds(0.2))
    strict = compared(values, in_b, thresholds=Thresholds(0.2, 0.9))
    assert len(strict.passing) < len(loose.passing)
    assert (strict.table.loc[strict.passing, "log2_ratio"].abs() >= 0.9).all()
    assert set(GENES[:20]) <= set(loose.passing)
    for bad in ({"q": 0.0}, {"q": 1.2}, {"log2_ratio": -1.0}, {"q": float("nan")}):
        with pytest.raises(ExplanationError):
            Thresholds(**bad)


def test_permutation_decides_where_asked_and_says_when_it_cannot() -> None:
    values, in_b = data(shift=6.0, n=6)
    small = compared(values, in_b, by_permutation=True)
    assert len(small.passing) == 0 and small.smallest_p == pytest.approx(1 / 20)
    assert len(compared(values, in_b).passing) > 10
    values, in_b = data(shift=1.5)
    fine = compared(values, in_b, by_permutation=True, refined=(20_000,))
    assert set(fine.passing) >= set(GENES[:20]) and fine.warning == ""


def test_the_count_is_set_against_relabelled_counts() -> None:
    values, in_b = data(1, shift=1.0)
    true = compared(values, in_b).null
    assert true.observed >= 20 and true.p < 0.01 and true.p_nominal < 0.01
    assert true.t.shape == (1000, 200) and np.quantile(true.counts, 0.9) <= 1
    null = compared(*data(2)).null
    assert null.p_nominal > 0.05
    assert abs(null.counts_nominal.mean() - 10) < 2  # 5 % of 200 genes


def test_no_gene_of_a_null_passes_more_often_than_stated() -> None:
    false = []
    for seed in range(100):
        found = welch_test(*data(seed))
        false.append(Thresholds().passes(found.difference, found.p).any())
    assert np.mean(false) < 0.12  # q 0.05 over nothing but null genes is the family error


def test_genes_that_cannot_be_tested_do_not_count() -> None:
    values, in_b = data(shift=1.0)
    values[:, 5] = np.nan
    values[:, 6] = -9.0
    found = compared(values, in_b, by_permutation=True)
    assert found.n_tested == 198
    assert not found.table.loc[["G5", "G6"], "passes"].any()
    assert found.table.index[-2:].tolist() == ["G5", "G6"]


def test_overlap_by_hand() -> None:
    values, in_b = data(shift=2.0)
    other = values.copy()
    other[np.ix_(in_b, np.arange(5))] -= 4.0  # turned round
    other[np.ix_(in_b, np.arange(5, 10))] -= 2.0  # no difference any more
    first, second = compared(values, in_b), compared(other, in_b, test=moderated_test)
    found = overlap(first, second)
    assert {"G0", "G4", "G10", "G19"} <= set(found.both)
    assert set(found.only_first) == set(first.passing) - set(second.passing)
    assert found.same_direction == sum(int(g[1:]) >= 10 for g in found.both)
    n1, n2 = len(first.passing), len(second.passing)
    expected = stats.fisher_exact(
        [[len(found.both), n1 - len(found.both)],
         [n2 - len(found.both), 200 - n1 - n2 + len(found.both)]], "greater"
    ).pvalue  # fmt: skip
    assert found.p == pytest.approx(expected)
    assert found.expected == pytest.approx(n1 * n2 / 200)


def test_counts_are_compared_at_equal_sizes() -> None:
    """One effect in 73 and 29 patients gives different counts, and like ones when balanced."""
    generator = np.random.default_rng(3)
    in_b = np.repeat([False, True], [73, 29])
    change = generator.normal(0, 1, (102, 200))
    change[:, :40] += 0.45
    thresholds = Thresholds()
    full = [int(change_table(change[rows], GENES)["passes"].sum()) for rows in (~in_b, in_b)]
    assert full[0] > full[1] + 10
    a, b = balanced_changes(change, in_b, thresholds, draws=20)
    assert a.size == b.size == 29 and len(b.counts) == 1
    assert abs(np.median(a.counts) - b.counts[0]) < 12
    values, labels = data(shift=1.0)
    drawn = balanced_count(values[5:], labels[5:], welch_test, thresholds, draws=5)
    assert drawn.size == 17 and "at 17 patients a group" in str(drawn)


@pytest.mark.parametrize("test", [welch_test, moderated_test])
def test_counts_report_and_stop_every_hundred_labellings(test: Test) -> None:
    values, in_b = data(n=20)
    labels = relabellings(in_b, 250)
    texts: list[str] = []
    steps = Steps(1, lambda done, total, text: texts.append(text))
    whole = count_null(values, in_b, test, labels, Thresholds(), steps)
    assert len(texts) == 3 and whole.t.shape == (250, 200)
    np.testing.assert_allclose(whole.t[120], test(values, labels.in_b[120]).t)
    balanced_count(values[3:], in_b[3:], test, Thresholds(), draws=20, steps=steps)
    assert texts[3:] == ["Groups of equal size"] * 2
    stopped = Steps(1, cancelled=lambda: len(texts) > 0)
    with pytest.raises(PredictionCancelled):
        count_null(values, in_b, test, labels, Thresholds(), stopped)
    with pytest.raises(PredictionCancelled):
        balanced_count(values[3:], in_b[3:], test, Thresholds(), steps=stopped)


def test_the_seed_reaches_the_count_of_a_complete_list() -> None:
    values, in_b = data(n=14)
    found = [
        count_null(values, in_b, welch_test, relabellings(in_b, 5000, seed), Thresholds())
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(found[0].t, found[1].t)
    assert not np.array_equal(found[0].t, found[2].t)
