"""Pairs of a cohort: who is compared with whom, on which genes, and what is refused."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from pair_data import METADATA, N_GENES, cohort_of, paired_frame, pairs_of, small_panel

from xpert_core.cohorts import (
    check_pairs,
    read_cohort,
    read_paired_files,
    require_usable,
    to_pairs,
)
from xpert_core.errors import CohortError

GENES = list(small_panel().symbols)


def words(findings) -> str:
    return " ".join(map(str, findings))


def test_pairs_of_one_file_are_its_rows() -> None:
    frame = paired_frame(9)
    pairs = pairs_of(frame.sample(frac=1, random_state=1))
    assert len(pairs) == 9
    assert pairs.unit == "log2"
    table = pairs.pairs.reset_index().set_index("patient_id")
    assert table.loc["P4", ["drug", "dose", "time", "response"]].tolist() == [
        *("nivolumab", "1 uM", "24 h", "PD"),
    ]
    row = pairs.patients.index("P4")
    own = frame[frame["patient_id"] == "P4"].set_index("timepoint")[GENES]
    np.testing.assert_allclose(pairs.x_before[row], own.loc["pre"], rtol=1e-5)
    np.testing.assert_allclose(pairs.x_deg[row], own.loc["post"] - own.loc["pre"], atol=1e-5)
    found = check_pairs(pairs)
    assert found.can_finetune
    assert (found.n_pairs, found.n_patients, found.n_genes) == (9, 9, N_GENES)
    assert "All pairs are of one drug (nivolumab)" in words(found.warnings)


def test_published_h5ad_and_two_files_give_the_same_pairs(tmp_path) -> None:
    frame = paired_frame(8)
    before, after = (frame[frame["timepoint"] == s].reset_index(drop=True) for s in ("pre", "post"))
    single = pairs_of(frame)
    obs = after[["patient_id", "drug", "dose", "time", "response"]].set_axis(
        after["patient_id"], axis=0
    )
    data = anndata.AnnData(
        after[GENES].to_numpy(np.float32), obs=obs.drop(columns="patient_id"),
        var=pd.DataFrame(index=GENES), obsm={"X_ctl": before[GENES].to_numpy(np.float32)},
    )  # fmt: skip
    data.write_h5ad(tmp_path / "pairs.h5ad")
    h5ad = to_pairs(read_cohort(tmp_path / "pairs.h5ad", scale="log2"), small_panel())
    files = [
        f.drop(columns="timepoint").to_csv(index=False).encode() for f in (before, after[::-1])
    ]
    two = to_pairs(
        read_paired_files(*files, filenames=("b.csv", "a.csv"), scale="log2",
                          panel=small_panel()),
        small_panel(),
    )  # fmt: skip
    for other in (h5ad, two):
        order = [other.patients.index(p) for p in single.patients]
        np.testing.assert_allclose(other.x_deg[order], single.x_deg, atol=1e-5)
        assert list(other.pairs["drug"].iloc[order]) == list(single.pairs["drug"])


def test_repeated_biopsies_each_pair_with_the_nearest_earlier_sample() -> None:
    frame = paired_frame(8)
    first = frame[frame["patient_id"] == "P1"].set_index("timepoint", drop=False)
    late = first.loc["pre"].copy()
    late[GENES] += 0.5
    late["time"] = "-1 h"
    first_pre = frame.index[(frame["patient_id"] == "P1") & (frame["timepoint"] == "pre")]
    frame.loc[first_pre, "time"] = "-336 h"
    again = first.loc["post"].copy()
    again[GENES] += 1
    again["time"] = "14 d"
    frame = pd.concat([frame, pd.DataFrame([late, again])], ignore_index=True)
    frame.insert(0, "sample_id", [f"S{i}" for i in range(len(frame))])
    pairs = pairs_of(frame)
    own = pairs.pairs[pairs.pairs["patient_id"] == "P1"]
    assert len(pairs) == 9
    assert own["sample_before"].tolist() == ["S16", "S16"]
    assert own["time"].tolist() == ["24 h", "14 d"]
    assert any("P1 has 2 samples before treatment; the nearest earlier" in n for n in pairs.notes)
    frame.loc[frame["patient_id"] == "P1", "time"] = "on treatment"
    pairs = pairs_of(frame)
    assert pairs.pairs.loc[["S1", "S17"], "sample_before"].tolist() == ["S0", "S0"]
    assert any("the first is used" in n for n in pairs.notes)


def test_patients_without_a_partner_are_named() -> None:
    frame = paired_frame(10).drop(index=[1, 2])  # P1 after, P2 before
    pairs = pairs_of(frame)
    assert len(pairs) == 8
    notes = " ".join(pairs.notes)
    assert "no sample after treatment and is left out: P1" in notes
    assert "no sample before treatment and is left out: P2" in notes
    with pytest.raises(CohortError, match="No patient has a sample before and a sample after"):
        pairs_of(frame.assign(patient_id=[f"Q{i}" for i in range(len(frame))]))
    with pytest.raises(CohortError, match="does not say which samples were taken before"):
        pairs_of(frame[frame["timepoint"] == "pre"].drop(columns="timepoint"))


def test_genes_of_one_side_are_lost_and_half_of_the_panel_is_needed() -> None:
    frame = paired_frame(8)
    before, after = (frame[frame["timepoint"] == s].drop(columns="timepoint")
                     for s in ("pre", "post"))  # fmt: skip

    def two_files(n_lost: int):
        files = [before, after.drop(columns=GENES[:n_lost])]
        content = [f.to_csv(index=False).encode() for f in files]
        cohort = read_paired_files(
            *content, filenames=("b.csv", "a.csv"), scale="log2", panel=small_panel()
        )
        return to_pairs(cohort, small_panel())

    pairs = two_files(3)
    assert np.isnan(pairs.x_before[:, :3]).all()
    assert not np.isnan(pairs.x_deg[:, 3:]).any()
    assert any(f"measured only before treatment and not used: {', '.join(GENES[:3])}" in n
               for n in pairs.notes)  # fmt: skip
    assert not np.isnan(two_files(30).x_deg[:, 30:]).any()
    with pytest.raises(CohortError, match=r"Only 29 of the 60 landmark genes \(48.3%\)"):
        two_files(31)


def test_counts_are_brought_to_log2_on_both_sides() -> None:
    frame = paired_frame(8)
    counts = frame.copy()
    counts[GENES] = (np.exp2(frame[GENES].clip(lower=0)) * 50).round()
    pairs = pairs_of(counts, scale="counts")
    assert pairs.scale_transform == "log2(CPM + 1)"
    values = counts[GENES].to_numpy()
    log2 = np.log2(values / values.sum(axis=1, keepdims=True) * 1e6 + 1)
    np.testing.assert_allclose(pairs.x_deg, log2[1::2] - log2[::2], atol=1e-3)


def test_z_scores_and_log_ratios_keep_their_unit_and_are_warned_of() -> None:
    frame = paired_frame(10)
    values = frame[GENES].to_numpy()
    together, apart = frame.copy(), frame.copy()
    together[GENES] = (values - values.mean(axis=0)) / values.std(axis=0)
    for side in (slice(0, None, 2), slice(1, None, 2)):
        own = values[side]
        apart.iloc[side, len(METADATA) :] = (own - own.mean(axis=0)) / own.std(axis=0)
    found = check_pairs(pairs_of(together, scale="z-score"))
    assert pairs_of(together, scale="z-score").unit == "z-score"
    assert "only their difference is used" in words(found.warnings)
    assert "standardised apart" not in words(found.warnings)
    assert "standardised apart" in words(check_pairs(pairs_of(apart, scale="z-score")).warnings)
    assert pairs_of(together, scale="log-ratio").unit == "log-ratio"


def test_too_few_pairs_or_patients() -> None:
    found = check_pairs(pairs_of(paired_frame(7)))
    assert "There are 7 pairs; fine-tuning needs at least 8." in words(found.refusals)
    frame = paired_frame(9)
    frame.insert(0, "sample_id", [f"S{i}" for i in range(len(frame))])
    with pytest.raises(CohortError, match="The pairs are of 1 patient;"):
        require_usable(pairs_of(frame.assign(patient_id="study")))
    require_usable(pairs_of(frame))


def test_one_patient_under_two_names_and_a_split_through_patients() -> None:
    frame = paired_frame(9)
    frame.loc[4, GENES] = frame.loc[0, GENES]
    found = check_pairs(pairs_of(frame))
    assert "1 profile before treatment occurs under two patient ids" in words(found.refusals)
    assert "P1 = P3" in words(found.refusals)
    frame = paired_frame(9)
    frame.insert(0, "sample_id", [f"S{i}" for i in range(len(frame))])
    frame["patient_id"] = [f"P{i // 4}" for i in range(len(frame))]
    frame.insert(1, "split", ["train", "train", "test", "test"] * 4 + ["test", "test"])
    found = check_pairs(pairs_of(frame))
    assert "4 patients are on both sides of the split" in words(found.refusals)


def test_target_equal_to_control() -> None:
    frame = paired_frame(9)
    frame.loc[3, GENES] = frame.loc[2, GENES]
    found = check_pairs(pairs_of(frame))
    assert "In 1 of 9 pairs the profile after treatment equals the one before" in words(
        found.refusals
    )
    assert "P2" in words(found.refusals)
    frame.loc[1::2, GENES] = frame.loc[::2, GENES].to_numpy()
    assert "In every pair" in words(check_pairs(pairs_of(frame)).refusals)


def test_labels_in_the_genes() -> None:
    frame = paired_frame(12)
    coded = frame.copy()
    coded[GENES[7]] = frame["response"].map({"PD": 2.0, "SD": 1.0, "PR": 0.0})
    found = check_pairs(pairs_of(coded))
    assert (
        f"label 'response' instead of expression (before treatment). Where: genes {GENES[7]}"
        in (words(found.refusals))
    )
    aged = frame.copy()
    aged.insert(0, "age", np.repeat(np.random.default_rng(0).permutation(12) + 40, 2))
    aged[GENES[9]] = 10 - aged["age"] / 20
    found = check_pairs(pairs_of(aged))
    assert f"label 'age' instead of expression (after treatment). Where: genes {GENES[9]}" in words(
        found.refusals
    )
    aged[GENES[9]] = frame[GENES[9]]
    assert check_pairs(pairs_of(aged)).can_finetune


def test_constant_genes_and_columns_named_like_a_label_are_warned_of() -> None:
    frame = paired_frame(9)
    frame[GENES[2]] = 3.25
    frame["tumour_response_score"] = np.arange(len(frame)) / 7
    found = check_pairs(pairs_of(frame))
    assert found.can_finetune
    assert f"same value in every sample and tell nothing. Where: genes {GENES[2]}" in words(
        found.warnings
    )
    assert "columns tumour_response_score" in words(found.warnings)


def test_missing_cells_stay_missing() -> None:
    frame = paired_frame(8)
    frame.loc[0, GENES[4]] = np.nan
    frame.loc[3, GENES[5]] = np.nan
    pairs = pairs_of(frame)
    missing = np.isnan(pairs.x_deg)
    assert missing.sum() == 2
    assert missing[0, 4]
    assert missing[1, 5]
    sparse = paired_frame(9)
    sparse.loc[0, GENES[:40]] = np.nan
    pairs = pairs_of(sparse)
    assert len(pairs) == 8
    assert any("1 pair is left out, because fewer than 30" in n for n in pairs.notes)


def test_a_cohort_of_one_drug_by_pairs_with_the_drug_named_before_treatment_only() -> None:
    frame = paired_frame(8)
    frame.loc[1::2, ["drug", "dose"]] = None
    assert set(pairs_of(frame).pairs["drug"]) == {"nivolumab"}
    unnamed = paired_frame(8)
    unnamed["drug"] = None
    assert "8 of 8 pairs name no drug" in words(check_pairs(pairs_of(unnamed)).warnings)
    assert cohort_of(unnamed).samples["drug"].isna().all()
