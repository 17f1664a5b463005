"""What a model without noise could reach, from replicates: against one that knows the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from xpert_core.benchmark.ceiling import (
    agreement_rows,
    ceiling_table,
    pair_rows,
    plate_agreement,
    reachable,
    section,
    without_plates,
)
from xpert_core.evaluation.metrics import bootstrap_mean
from xpert_core.evaluation.metrics.rows import pearson_rows
from xpert_core.learning.folds import NONE, SCENARIOS, TEST, TRAIN, Folds
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


def plated(data: TrainingData) -> tuple[TrainingData, np.ndarray, np.ndarray]:
    """Forty rows on ten plates whose effects hide what replicates on two of them share."""
    rng = np.random.default_rng(5)
    n, profile = len(data), np.arange(len(data)) % 10
    plate, drug = rng.normal(size=(10, 978)), rng.normal(size=(n, 978))
    condition = np.arange(n)
    test = np.arange(20)
    condition[test] = test // 2  # rows 2k and 2k + 1 stand on plates 2k % 10 and 2k % 10 + 1
    x_deg = 3 * plate[profile] + drug[condition] + 0.1 * rng.normal(size=(n, 978))
    same = {"x_deg": x_deg.astype(np.float32), "profile_index": profile, "readout": profile * 0}
    return replace(data, **same), condition, test


def test_plates_hide_the_agreement_of_replicates_until_they_are_taken_off(
    data: TrainingData,
) -> None:
    data, condition, test = plated(data)
    train = np.arange(20, len(data))
    left = without_plates(data, train, test)
    for row in (0, 13):
        same = train[data.profile_index[train] == data.profile_index[row]]
        expected = data.x_deg[row] - data.x_deg[same].mean(axis=0)
        np.testing.assert_allclose(left[row], expected, atol=1e-5)
    parts = np.full((2, len(data)), NONE, dtype=np.int8)
    parts[:, train], parts[:, test] = TRAIN, TEST
    # In the second fold nothing of plate 4 is trained on, so rows 4 and 14 are not told of.
    parts[1, train[data.profile_index[train] == 4]] = NONE
    folds = Folds(SCENARIOS["cold-drug"], 0, parts)
    tested = pd.DataFrame({"fold": np.repeat([1, 2], len(test)), "row": [*test, *test]})
    one = plate_agreement(data, condition, folds, tested[tested["fold"] == 1])
    both = plate_agreement(data, condition, folds, tested)
    pair = np.corrcoef(left[4], left[5])[0, 1]
    assert one[4] == one[5] == pytest.approx(pair, abs=1e-6)
    np.testing.assert_allclose(both[test], one[test], atol=1e-9)
    assert np.isnan(one[20:]).all()
    second = plate_agreement(data, condition, folds, tested[tested["fold"] == 2])
    assert np.flatnonzero(np.isnan(second[test])).tolist() == [4, 5, 14, 15], "nor their replicates"
    plain = agreement_rows(data, condition)[test].mean()
    assert plain < 0.3 < 0.7 < one[test].mean()


def test_a_control_of_another_readout_says_nothing(data: TrainingData) -> None:
    data, _, test = plated(data)
    other = replace(data, readout=(np.arange(len(data)) >= 20).astype(data.readout.dtype))
    assert np.isnan(without_plates(other, np.arange(20, len(data)), test)).all()


def test_the_table_has_both_agreements_and_the_section_says_what_they_bound(
    data: TrainingData,
) -> None:
    data, condition, test = plated(data)
    # Of these columns alone a condition is made.
    one = condition.astype(float)
    same = {
        "cell_index": one * 0,
        "dose_um": one + 1,
        "time_h": one * 0 + 24,
        "drug_index": one * 0,
    }
    data = replace(data, **{k: v.astype(getattr(data, k).dtype) for k, v in same.items()})
    parts = np.full((1, len(data)), TRAIN, dtype=np.int8)
    parts[:, test] = TEST
    place = pd.DataFrame({"row": test, "fold": 1, "drug": test // 4, "model": "M", "value": 0.2})
    folds = Folds(SCENARIOS["cold-drug"], 0, parts)
    results = SimpleNamespace(
        data=data,
        model="M",
        config=SimpleNamespace(scenarios=[SimpleNamespace(name="cold-drug")]),
        places=lambda: [("cold-drug", "level 3", place)],
        folds_of=lambda _: folds,
    )
    line = ceiling_table(results).iloc[0]
    score = bootstrap_mean(plate_agreement(data, condition, folds, place)[test], test // 4)
    found = line[["plate_mean", "plate_low", "plate_high", "plate_rows", "plate_conditions"]]
    assert found.tolist() == pytest.approx([score.mean, score.low, score.high, 20, 10])
    assert line["mean"] < 0.3 < line["plate_mean"] and line["rows"] == 20
    text = section(results, ceiling_table(results)).text
    assert f"{score.mean:.3f} [{score.low:.3f}, {score.high:.3f}] | 10 | 20 |" in text
    assert "no bound for a model that knows the plate" in text
