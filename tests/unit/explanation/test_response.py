"""Responders and non-responders: groups, changes, counts, violins, errors by size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from prediction_data import prediction_of

from xpert_core.cohorts.paired import PairedProfiles
from xpert_core.errors import CohortError, DataError, GeneError
from xpert_core.explanation.error_by_size import COHORT_MEAN, NO_CHANGE, error_by_size
from xpert_core.explanation.response import (
    Changes,
    count_changed,
    distribution,
    from_pairs,
    from_prediction,
    most_changed,
    on_common,
    recognised,
    response_groups,
    violins,
)
from xpert_core.genes import load_panel
from xpert_core.genes.records import GeneReport
from xpert_core.prediction.records import X_DEG_UNIT


def cohort(n: int = 30, genes: int = 40, seed: int = 0, planted: int = 0) -> Changes:
    """Noise; the first `planted` genes are up by 2 in the first half of the patients."""
    values = np.random.default_rng(seed).normal(size=(n, genes))
    values[: n // 2, :planted] += 2.0
    names = tuple(f"p{i}" for i in range(n))
    return Changes("measured", names, tuple(f"g{i}" for i in range(genes)), values, X_DEG_UNIT)


def halves(n: int, responders: int) -> dict[str, str]:
    return {f"p{i}": "responder" if i < responders else "non-responder" for i in range(n)}


def test_usual_words_are_recognised_and_others_left_out() -> None:
    labels = {"a": "PRCR", "b": "PD", "c": "SD", "d": "Responder", "e": "nonresponder", "f": "UNK",
              "g": None, "h": float("nan")}  # fmt: skip
    found = response_groups(labels)
    assert found == {"a": "responder", "b": "non-responder", "c": "non-responder",
                     "d": "responder", "e": "non-responder"}  # fmt: skip
    assert (recognised("CR"), recognised(" pd "), recognised("UNK")) == (
        "responder", "non-responder", "",
    )  # fmt: skip


def test_empty_or_overlapping_groups_are_refused() -> None:
    with pytest.raises(CohortError, match="no non-responder"):
        response_groups({"a": "CR", "b": "CR"})
    with pytest.raises(CohortError, match="both groups"):
        response_groups({"a": "x", "b": "y"}, ["x"], ["x", "y"])
    with pytest.raises(CohortError, match="too few patients"):
        most_changed(cohort(4), halves(4, 1))


def test_samples_of_one_patient_are_averaged_and_conditions_must_be_named() -> None:
    number = {"s1": 1.0, "s2": 3.0, "s3": 5.0}
    whole = prediction_of(
        lambda s, d, t: np.full(2, number[s] * d), list(number), (1.0, 2.0),
        genes=("A", "B"), patients=("p", "p", "q"),
    )  # fmt: skip
    found = from_prediction(whole, dose_um=2.0)
    assert found.patients == ("p", "q") and found.source == "model"
    np.testing.assert_allclose(found.x_deg[:, 0], [4.0, 10.0])
    with pytest.raises(DataError, match="Several conditions"):
        from_prediction(whole)
    with pytest.raises(DataError, match="not predicted"):
        from_prediction(whole, dose_um=3.0)


def paired(unit: str = "log2") -> PairedProfiles:
    panel = load_panel()
    before = np.zeros((3, len(panel)), dtype=np.float32)
    after = before + np.array([[1.0], [3.0], [-1.0]], dtype=np.float32)
    after[:, 0] = np.nan
    rows = pd.DataFrame({"patient_id": ["p", "p", "q"]}, index=["a", "b", "c"])
    report = GeneReport(pd.DataFrame(), np.arange(len(panel)), len(panel))
    return PairedProfiles("x", rows, before, after, unit, panel, report, "none", "0")


def test_measured_pairs_give_changes_by_patient() -> None:
    found = from_pairs(paired())
    assert found.patients == ("p", "q")
    assert np.isnan(found.x_deg[:, 0]).all()
    np.testing.assert_allclose(found.x_deg[:, 1], [2.0, -1.0])


def test_sources_are_brought_to_the_same_patients_and_genes() -> None:
    one = cohort(6)
    other = replace(
        cohort(6, seed=1), source="model", patients=tuple(f"p{i}" for i in (5, 3, 1, 0, 8, 9))
    )
    other.x_deg[:, 2] = np.nan
    first, second = on_common([one, other])
    assert first.patients == second.patients == ("p0", "p1", "p3", "p5")
    assert "g2" not in first.genes and len(first.genes) == 39
    np.testing.assert_array_equal(second.x_deg[0], np.delete(other.x_deg[3], 2))
    with pytest.raises(CohortError, match="share no patient"):
        on_common([one, replace(other, patients=tuple("uvwxyz"))])
    with pytest.raises(CohortError, match="same name"):
        on_common([one, one])


def test_density_integrates_to_one_and_widths_are_kept() -> None:
    found = distribution([cohort(40)], halves(40, 12))
    for _, group in found.groupby("group"):
        step = np.diff(group["x_deg"]).mean()
        assert group["density"].sum() * step == pytest.approx(1, abs=0.01)
        assert group["sd"].iloc[0] == pytest.approx(1, abs=0.1)
    assert found.drop_duplicates("group").set_index("group")["patients"].to_dict() == {
        "responder": 12, "non-responder": 28,
    }  # fmt: skip


def test_planted_differences_are_found_at_the_stated_rate_and_noise_is_not() -> None:
    found = most_changed(cohort(60, 200, planted=20), halves(60, 30))
    hits = set(found.loc[found["q_difference"] < 0.05, "gene"])
    planted = {f"g{i}" for i in range(20)}
    assert len(hits & planted) == 20 and len(hits - planted) <= 4
    assert set(found["gene"].head(20)) == planted
    null = most_changed(cohort(60, 400, seed=5), halves(60, 30))
    assert (null["q_difference"] < 0.05).sum() <= 1
    assert abs((null["difference"] > 0).mean() - 0.5) < 0.1


def test_counts_at_equal_sizes_remove_the_advantage_of_the_larger_group() -> None:
    values = cohort(102, 300, seed=2)
    values.x_deg[:, :150] += 0.4  # the same change in every patient
    found = count_changed(values, halves(102, 29), draws=30).table.set_index("group")
    assert found.loc["non-responder", "all"] > 1.5 * found.loc["responder", "all"]
    apart = abs(found.loc["non-responder", "equal"] - found.loc["responder", "equal"])
    assert apart < 0.4 * found.loc["responder", "equal"]
    assert found.loc["responder", "equal"] == found.loc["responder", "all"]


def test_violins_give_quartiles_and_no_density_for_two_patients() -> None:
    found = violins([cohort(30)], halves(30, 2), ["g1"])
    few = found[found["group"] == "responder"]
    many = found[found["group"] == "non-responder"]
    assert few["density"].isna().all() and len(few) == 2
    assert many["density"].max() == pytest.approx(1)
    values = cohort(30).x_deg[2:, 1]
    row = many.iloc[0]
    assert [row["low"], row["median"], row["high"]] == pytest.approx(
        np.quantile(values, [0.25, 0.5, 0.75])
    )
    with pytest.raises(GeneError, match="not among the genes"):
        violins([cohort(30)], halves(30, 10), ["NOGENE"])


def test_error_by_size_by_hand() -> None:
    truth = np.array([[0.0, 1.0, 2.0, 3.0], [0.0, -1.0, -2.0, -3.0]])
    measured = Changes("measured", ("p", "q"), ("A", "B", "C", "D"), truth, X_DEG_UNIT)
    model = replace(measured, source="half", x_deg=truth / 2)
    found = error_by_size(measured, [model], strata=2).set_index(["source", "stratum"])
    # Strata by absolute change: {0, 0, 1, 1} and {2, 2, 3, 3}.
    assert found.loc[("half", 1), "mae"] == pytest.approx(0.25)
    assert found.loc[("half", 2), "mae"] == pytest.approx(1.25)
    assert found.loc[("half", 2), "bias"] == pytest.approx(-1.25)
    assert found.loc[("half", 2), "direction"] == 1.0
    assert found.loc[(NO_CHANGE, 2), "mae"] == pytest.approx(2.5)
    assert np.isnan(found.loc[(NO_CHANGE, 2), "direction"])
    # The only other patient has the opposite change.
    assert found.loc[(COHORT_MEAN, 2), "mae"] == pytest.approx(5.0)
    assert found.loc[(COHORT_MEAN, 2), "direction"] == 0.0


def test_error_ignores_what_was_not_measured_and_refuses_other_patients_and_units() -> None:
    measured = cohort(5)
    measured.x_deg[:, :10] = np.nan
    model = replace(measured, source="model", x_deg=np.zeros((5, 40)))
    found = error_by_size(measured, [model])
    assert found.groupby("source")["values"].sum()["model"] == 5 * 30
    with pytest.raises(DataError, match="same patients"):
        error_by_size(measured, [replace(model, patients=tuple("abcde"))])
    z = replace(measured, unit=from_pairs(paired("z-score")).unit)
    with pytest.raises(DataError, match="z-scores"):
        error_by_size(z, [model])
