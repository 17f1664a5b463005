"""Dose curves, heat map, components and sign reversals, by hand and against scipy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from prediction_data import prediction_of
from scipy.stats import kstest, spearmanr

from xpert_core.errors import ConditionError, DataError, DrugError, GeneError
from xpert_core.explanation.dose_time import (
    SIZE,
    DoseTimeGrid,
    dose_curves,
    dose_heat,
    dose_pca,
    grid_of,
    sign_reversals,
)

DOSES, GENES = (0.1, 1.0, 10.0), ("A", "B", "C")
OF_SAMPLE = {"s1": 1.0, "s2": 3.0}


def linear(sample: str, dose: float, time: float) -> np.ndarray:
    """A: sample's number times log dose; B: constant; C: time / 24."""
    return np.array([OF_SAMPLE[sample] * np.log10(dose), 0.5, time / 24])


def grid(times: tuple[float, ...] = (6.0, 24.0)) -> DoseTimeGrid:
    return grid_of(prediction_of(linear, ["s1", "s2"], DOSES, times, genes=GENES))


def random_grid(seed: int, samples: int = 3, doses: int = 6, genes: int = 12) -> DoseTimeGrid:
    values = np.random.default_rng(seed).normal(size=(samples, 1, doses, genes))
    names = tuple(f"g{i}" for i in range(genes))
    levels = np.geomspace(0.04, 10, doses)
    ids = tuple(f"s{i}" for i in range(samples))
    return DoseTimeGrid("drug", ids, np.array([24.0]), levels, names, values)


def test_grid_is_ordered_whatever_the_order_of_the_rows() -> None:
    prediction = prediction_of(linear, ["s1", "s2"], (10.0, 0.1, 1.0), (24.0, 6.0), genes=GENES)
    found = grid_of(prediction)
    np.testing.assert_allclose(found.doses, DOSES)
    np.testing.assert_allclose(found.times, (6.0, 24.0))
    for i, sample in enumerate(("s1", "s2")):
        for j, time in enumerate((6.0, 24.0)):
            for k, dose in enumerate(DOSES):
                expected = linear(sample, dose, time)
                np.testing.assert_allclose(found.x_deg[i, j, k], expected, atol=1e-6)


def test_incomplete_or_ambiguous_predictions_are_refused() -> None:
    whole = prediction_of(linear, ["s1", "s2"], DOSES, genes=GENES)
    cut = replace(whole, rows=whole.rows.iloc[1:], x_deg=whole.x_deg[1:])
    with pytest.raises(DataError, match="whole grid"):
        grid_of(cut)
    with pytest.raises(DrugError, match="not predicted"):
        grid_of(whole, "other")
    rows = whole.rows.assign(drug=["a", "b"] * 3)
    with pytest.raises(DrugError, match="Several drugs"):
        grid_of(replace(whole, rows=rows))


def test_curves_have_the_mean_and_deviation_over_samples() -> None:
    found = dose_curves(grid(), {"A": ["A"], "set": ["A", "B"]}, 24.0).set_index(
        ["series", "dose_um"]
    )
    # log10 = 1: samples give 1 and 3.
    top = found.loc[("A", 10.0)]
    assert top["mean"] == pytest.approx(2.0) and top["sd"] == pytest.approx(np.sqrt(2))
    assert (top["least"], top["most"]) == pytest.approx((1.0, 3.0))
    assert found.loc[("set", 10.0), "mean"] == pytest.approx((2.0 + 0.5) / 2)
    assert found.loc[("set", 10.0), "genes"] == 2
    size = np.mean([np.sqrt((1 + 0.25 + 1) / 3), np.sqrt((9 + 0.25 + 1) / 3)])
    assert found.loc[(SIZE, 10.0), "mean"] == pytest.approx(size)


def test_one_sample_has_no_band() -> None:
    one = grid_of(prediction_of(linear, ["s1"], DOSES, genes=GENES))
    found = dose_curves(one, {"A": ["A"]}, 24.0)
    assert found[["sd", "low", "high"]].isna().all().all() and found["mean"].notna().all()


def test_wrong_gene_or_time_is_explained() -> None:
    with pytest.raises(GeneError, match="'X' is not"):
        dose_curves(grid(), {"X": ["X"]}, 24.0)
    with pytest.raises(ConditionError, match="12 h was not predicted"):
        dose_curves(grid(), {"A": ["A"]}, 12.0)


def test_heat_map_holds_the_most_variable_genes_up_first() -> None:
    values = np.array([[0, 0, 0.1], [1, -2, 0.1], [2, -4, 0.1]], dtype=float)
    own = DoseTimeGrid("d", ("s",), np.array([24.0]), np.array(DOSES), GENES, values[None, None])
    found = dose_heat(own, 24.0, 2)
    assert list(found.columns) == ["A", "B"]
    np.testing.assert_allclose(found.to_numpy(), values[:, :2])
    single = replace(own, doses=own.doses[:1], x_deg=own.x_deg[:, :, :1])
    with pytest.raises(ConditionError, match="at least 2 doses"):
        dose_heat(single, 24.0)


def test_component_along_dose_is_found_and_agrees_with_scipy() -> None:
    own = random_grid(1)
    planted = own.x_deg * 0.05
    planted[..., 0] += np.log(own.doses)
    found = dose_pca(replace(own, x_deg=planted), 24.0)
    first = found.components.iloc[0]
    assert abs(first["rho"]) > 0.95 and first["p"] < 0.002 and first["share"] > 0.9
    for name, rho in zip(found.components["component"], found.components["rho"], strict=True):
        expected = spearmanr(found.scores[name], found.scores["dose_um"]).statistic
        assert rho == pytest.approx(expected)
    again = dose_pca(replace(own, x_deg=planted), 24.0)
    assert found.components.equals(again.components)
    with pytest.raises(ConditionError, match="at least 3 doses"):
        dose_pca(grid_of(prediction_of(linear, ["s1", "s2"], DOSES[:2], genes=GENES)), 24.0)


def test_p_values_are_uniform_where_dose_means_nothing() -> None:
    p = [
        dose_pca(random_grid(seed), 24.0, n_components=1, permutations=150).components["p"][0]
        for seed in range(80)
    ]
    assert kstest(p, "uniform").pvalue > 0.01
    assert min(p) >= 1 / 151


def test_sample_differences_alone_do_not_follow_dose() -> None:
    own = random_grid(3)
    shifted = own.x_deg + 10 * np.arange(3)[:, None, None, None]
    found = dose_pca(replace(own, x_deg=shifted), 24.0).components.iloc[0]
    assert found["share"] > 0.9 and found["p"] > 0.05


def test_reversals_and_where_the_sign_changes() -> None:
    values = np.zeros((2, 1, 3, 3))
    values[:, 0, :, 0] = [-0.4, -0.2, 0.2]  # crosses half way between 1 and 10 on the log scale
    values[0, 0, :, 1] = [-1.0, 0.0, 1.0]  # only the first sample reverses widely
    values[1, 0, :, 1] = [-0.05, 0.0, 0.05]
    values[:, 0, :, 2] = [0.05, -0.05, 0.05]  # below the threshold
    own = DoseTimeGrid("d", ("s", "t"), np.array([24.0]), np.array(DOSES), GENES, values)
    found = sign_reversals(own, 0.1)
    assert list(found["gene"]) == ["B", "A"]  # widest first
    row = found.set_index("gene").loc["A"]
    assert row["along"] == "dose" and row["fixed"] == 24.0
    assert (row["lowest_at"], row["highest_at"]) == pytest.approx((0.1, 10.0))
    assert row["crossing"] == pytest.approx(10**0.5)
    assert found.set_index("gene")["samples_share"].to_dict() == {"B": 0.5, "A": 1.0}
    assert sign_reversals(own, 0.45).iloc[:, 0].tolist() == ["B"]
    with pytest.raises(ConditionError, match="greater than zero"):
        sign_reversals(own, 0.0)


def test_reversals_over_time() -> None:
    values = np.zeros((1, 2, 1, 1))
    values[0, :, 0, 0] = [-0.3, 0.6]
    own = DoseTimeGrid("d", ("s",), np.array([6.0, 24.0]), np.array([1.0]), ("A",), values)
    row = sign_reversals(own).iloc[0]
    assert row["along"] == "time" and row["fixed"] == 1.0
    assert row["crossing"] == pytest.approx(6 * 4 ** (1 / 3))
