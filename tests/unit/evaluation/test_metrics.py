"""Metrics equal SciPy, scikit-learn and the naive formulas, and every odd case is defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import (
    METRICS,
    Context,
    bootstrap_mean,
    evaluate,
    noise_ceiling,
    pearson_measured,
    pearson_rows,
)
from xpert_core.evaluation.metrics.intervals import limits_text
from xpert_core.evaluation.metrics.registry import Metric, register
from xpert_core.evaluation.metrics.rows import direction_rows, hits_rows, spearman_rows
from xpert_core.evaluation.metrics.sets import discrimination_rows, mmd_genes

ROWS, GENES = 60, 200


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(ROWS, GENES)) * np.linspace(0.2, 3, GENES)
    return truth, 0.4 * truth + rng.normal(size=truth.shape)


@pytest.fixture(scope="module")
def context() -> Context:
    rng = np.random.default_rng(1)
    return Context(np.arange(ROWS) % 7, np.arange(ROWS) % 3, rng.normal(size=(ROWS, GENES)))


def naive_mmd(x: np.ndarray, y: np.ndarray, gamma: float) -> float:
    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-gamma * (a[:, None] - b[None]) ** 2).mean())

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def test_values_equal_scipy_and_scikit_learn(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = pair
    found = {name: score.value for name, score in evaluate(truth, predicted).items()}
    rows = list(zip(truth, predicted, strict=True))
    columns = list(zip(truth.T, predicted.T, strict=True))
    expected = {
        "mse": reference.mean_squared_error(truth, predicted),
        "rmse": math.sqrt(reference.mean_squared_error(truth, predicted)),
        "mae": reference.mean_absolute_error(truth, predicted),
        "r2": reference.r2_score(truth, predicted, multioutput="uniform_average"),
        "pcc": np.mean([stats.pearsonr(a, b).statistic for a, b in rows]),
        "spearman": np.mean([stats.spearmanr(a, b).statistic for a, b in rows]),
        "wasserstein": np.mean([stats.wasserstein_distance(a, b) for a, b in columns]),
        "mmd": np.mean([naive_mmd(a, b, 1.0) for a, b in columns]),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_spearman_with_ties_equals_scipy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(4, size=(2, 9, 50)).astype(float)
    expected = [stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(spearman_rows(a, b), expected, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("spread", [0.01, 1.0, 40.0])
def test_mmd_equals_the_naive_formula(gamma: float, spread: float) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 40, 3)) * spread
    y[:, 1] += spread
    expected = [naive_mmd(x[:, g], y[:, g], gamma) for g in range(3)]
    np.testing.assert_allclose(mmd_genes(x, y, gamma), expected, atol=1e-7)


def test_mmd_does_not_depend_on_the_size_of_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.random.default_rng(4).normal(size=(2, 23, 5))
    whole = mmd_genes(x, y)
    monkeypatch.setattr("xpert_core.evaluation.metrics.sets._BLOCK", 4)
    np.testing.assert_allclose(mmd_genes(x, y), whole, atol=1e-12)


def test_the_two_precisions_differ_below_100_and_have_their_own_chance_levels() -> None:
    rng = np.random.default_rng(5)
    truth, predicted = rng.normal(size=(2, 1600, 978))  # standard error at most 0.0024
    found = {name: score.value for name, score in evaluate(truth, predicted).items()}
    for sign in ("positive", "negative"):
        for k in (10, 20, 50):
            own, of_100 = (found[f"{sign}_precision_{k}{end}"] for end in ("", "_of_100"))
            assert own == pytest.approx(k / 978, abs=0.01)
            assert of_100 == pytest.approx(100 / 978, abs=0.01)
            assert of_100 > own
        assert found[f"{sign}_precision_100"] == found[f"{sign}_precision_100_of_100"]
    good = 0.5 * truth + rng.normal(size=truth.shape)
    scores = evaluate(truth, good, names=["positive_precision_20", "positive_precision_20_of_100"])
    values = [score.value for score in scores.values()]
    assert max(values) > 1.5 * min(values)


def test_hits_by_hand_with_ties_in_the_order_of_the_genes() -> None:
    truth = np.array([[5.0, 4, 3, 2, 1, 0]])
    predicted = np.array([[1.0, 1, 1, 9, 0, 0]])
    assert hits_rows(truth, predicted, 2).tolist() == [0.5]  # genes 4 and 1, of which 1 is right
    assert hits_rows(truth, predicted, 2, truth_set=4).tolist() == [1.0]
    assert hits_rows(-truth, -predicted, 2).tolist() == [1.0]


def test_positive_and_negative_precision_look_at_the_two_ends() -> None:
    truth = np.tile(np.linspace(-1, 1, 40), (2, 1))
    predicted = truth.copy()
    predicted[:, :20] = predicted[:, :20][:, ::-1]  # the lower half is wrong
    found = {name: score.value for name, score in evaluate(truth, predicted).items()}
    assert found["positive_precision_10"] == 1
    assert found["negative_precision_10"] == 0


def test_constant_predictions_get_what_a_random_order_would_get(
    pair: tuple[np.ndarray, np.ndarray], context: Context
) -> None:
    truth, _ = pair
    found = evaluate(truth, np.zeros_like(truth), context=context)
    assert found["pcc"].value == found["spearman"].value == found["pcc_per_drug"].value == 0
    assert found["overlap_20"].value == pytest.approx(20 / GENES)
    assert found["negative_precision_20_of_100"].value == pytest.approx(100 / GENES)
    assert found["direction"].value == 0.5
    assert found["mse"].value == pytest.approx((truth**2).mean())


def test_constant_truth() -> None:
    truth, predicted = np.zeros((3, 10)), np.random.default_rng(6).normal(size=(3, 10))
    found = evaluate(truth, predicted)
    assert found["pcc"].value == 0
    assert math.isnan(found["direction"].value), "nothing changed, so there is no direction"
    assert math.isnan(found["r2"].value), "no gene varies"
    truth[:, 0] = [1, 2, 3]
    found = evaluate(truth, predicted)
    assert found["r2"].value == pytest.approx(reference.r2_score(truth[:, 0], predicted[:, 0]))


@pytest.mark.parametrize("value", [0.1, 1 / 3, -2.7])
def test_two_constant_rows_correlate_0_whatever_their_mean_is_rounded_to(value: float) -> None:
    for genes in (7, 978, 1000):
        one, other = np.full((2, genes), value), np.full((2, genes), -3 * value)
        assert pearson_rows(one, other).tolist() == pearson_rows(one, one).tolist() == [0, 0]
        assert spearman_rows(one, other).tolist() == [0, 0]
        truth = np.where(np.arange(genes) < 3, np.nan, one)
        noise = np.random.default_rng(0).normal(size=one.shape)
        predicted = np.where(np.isnan(truth), noise, other)
        assert pearson_measured(truth, predicted).tolist() == [0, 0]
        assert pearson_measured(truth, noise).tolist() == [0, 0]


def test_a_single_row() -> None:
    truth, predicted = np.random.default_rng(7).normal(size=(2, 1, 30))
    context = Context(np.array(["a"]), np.array(["b"]), np.zeros((1, 30)))
    found = evaluate(truth, predicted, context=context)
    assert math.isnan(found["r2"].value) and math.isnan(found["discrimination"].value)
    assert found["pcc"].value == pytest.approx(stats.pearsonr(truth[0], predicted[0]).statistic)
    assert found["wasserstein"].value == pytest.approx(np.abs(truth - predicted).mean())


@pytest.mark.parametrize("side", [0, 1])
def test_what_is_no_number_is_named_not_averaged(side: int) -> None:
    tables = [np.zeros((4, 5)), np.ones((4, 5))]
    tables[side][2, 1] = np.nan
    with pytest.raises(DataError, match=("truth", "prediction")[side]) as caught:
        evaluate(*tables)
    assert "first row 2" in caught.value.where


def test_other_shapes_no_rows_and_unknown_names_are_refused() -> None:
    for truth, predicted in (
        (np.zeros((2, 3)), np.zeros((2, 4))),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (np.zeros(3), np.zeros(3)),
    ):
        with pytest.raises(DataError, match="same shape"):
            evaluate(truth, predicted)
    with pytest.raises(DataError, match="Unknown metrics: accuracy"):
        evaluate(np.zeros((2, 3)), np.zeros((2, 3)), names=["accuracy"])


def test_per_drug_and_centred_by_hand(
    pair: tuple[np.ndarray, np.ndarray], context: Context
) -> None:
    truth, predicted = pair
    found = evaluate(truth, predicted, context=context)
    pcc = pearson_rows(truth, predicted)
    by_drug = [pcc[context.drug == drug].mean() for drug in range(7)]
    assert found["pcc_per_drug"].value == pytest.approx(np.mean(by_drug))
    assert found["pcc_per_drug"].value != pytest.approx(found["pcc"].value)
    own = [
        stats.pearsonr(t - c, p - c).statistic
        for t, p, c in zip(truth, predicted, context.centre, strict=True)
    ]
    assert found["pcc_centred"].value == pytest.approx(np.mean(own))
    assert "pcc_centred" not in evaluate(truth, predicted), "it needs a centre"
    assert "pcc_centred" not in evaluate(truth, predicted, target="x_pert", context=context)


def test_direction_looks_at_clear_changes_alone() -> None:
    truth = np.array([[3.0, -3, 0.1, 0.1, 0.1, 0.1]])
    assert direction_rows(truth, np.array([[1.0, -1, -1, -1, -1, -1]])).tolist() == [1]
    assert direction_rows(truth, np.array([[1.0, 1, 1, 1, 1, 1]])).tolist() == [0.5]
    assert direction_rows(truth, np.array([[0.0, -1, 1, 1, 1, 1]])).tolist() == [0.75]


def test_discrimination_is_one_for_the_truth_and_one_half_for_what_knows_no_drug() -> None:
    rng = np.random.default_rng(8)
    drug, place = np.repeat(np.arange(10), 6), np.tile([0, 1], 30)
    signal = rng.normal(size=(10, 50))[drug]
    truth = signal + 0.1 * rng.normal(size=(60, 50))
    assert discrimination_rows(truth, signal, drug, place).tolist() == [1] * 60
    blind = discrimination_rows(truth, np.zeros((60, 50)), drug, place)
    assert blind.mean() == pytest.approx(0.5)
    # The same drugs, each taken for its neighbour: never nearest.
    wrong = discrimination_rows(truth, np.roll(signal, 6, axis=0), drug, place)
    assert wrong.mean() < 0.6 and wrong.max() < 1


def test_noise_ceiling_leaves_the_row_itself_out() -> None:
    rng = np.random.default_rng(9)
    truth = rng.normal(size=(6, 500))
    truth[1] = truth[0]
    ceiling = noise_ceiling(truth, np.array(["a", "a", "b", "b", "b", "c"]))
    assert ceiling is not None
    np.testing.assert_allclose(ceiling[:2], 1)
    assert np.isnan(ceiling[5])
    expected = stats.pearsonr(truth[2], truth[3:5].mean(axis=0)).statistic
    assert ceiling[2] == pytest.approx(expected)
    assert noise_ceiling(truth, np.arange(6)) is None


def test_every_metric_keeps_its_range_and_says_what_it_is(
    pair: tuple[np.ndarray, np.ndarray], context: Context
) -> None:
    truth, predicted = pair
    for target in ("x_deg", "x_pert"):
        for name, score in evaluate(truth, predicted, target=target, context=context).items():
            metric = METRICS[name]
            assert target in metric.targets
            assert metric.low <= score.value <= metric.high
            assert metric.formula and metric.direction in ("up", "down")
            assert score.each.shape == ((ROWS,) if metric.unit == "row" else (GENES,))
            better = evaluate(truth, truth, target=target, context=context, names=[name])[name]
            sign = 1 if metric.direction == "up" else -1
            assert sign * better.value >= sign * score.value - 1e-12, name
    with pytest.raises(ValueError, match="two metrics"):
        register(Metric("mse", "", "down", 0, 1, "", "row", METRICS["mse"].compute))


def test_the_interval_resamples_groups_not_rows() -> None:
    values = np.repeat([0.0, 1.0], 50)
    by_group = bootstrap_mean(values, values)
    by_row = bootstrap_mean(values, np.arange(100))
    assert by_group.mean == by_row.mean == 0.5
    assert (by_group.low, by_group.high) == (0, 1)
    assert by_row.high - by_row.low < 0.25


def test_limits_of_a_single_group_are_said_to_be_none() -> None:
    assert limits_text(0.1937, 0.2751) == "0.194 to 0.275"
    one = bootstrap_mean(np.array([0.2, 0.4]), np.array(["a", "a"]))
    assert limits_text(one.low, one.high) == "not defined"


def test_correlation_over_the_genes_measured() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(size=(2, 5, 40)).astype(np.float32)
    np.testing.assert_array_equal(
        pearson_measured(truth, predicted), pearson_rows(predicted, truth)
    )
    missing = rng.random(truth.shape) < 0.3
    missing[4] = False
    gaps = np.where(missing, np.nan, truth)
    expected = [
        np.corrcoef(t[~m], p[~m])[0, 1] for t, p, m in zip(truth, predicted, missing, strict=True)
    ]
    np.testing.assert_allclose(pearson_measured(gaps, predicted), expected, atol=1e-6)
    assert pearson_measured(gaps, np.ones_like(predicted)).tolist() == [0] * 5
    assert pearson_measured(np.full((1, 3), np.nan), predicted[:1, :3])[0] == 0
