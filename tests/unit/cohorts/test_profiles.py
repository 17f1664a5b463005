"""What is predicted, what is refused and in which words."""

from __future__ import annotations

import numpy as np
import pytest

from xpert_core.cohorts import check_cohort, to_profiles
from xpert_core.errors import CohortError


@pytest.fixture
def before(paired_frame):
    return paired_frame[paired_frame["timepoint"] == "pre"].reset_index(drop=True)


def test_profiles_hold_the_file_s_values_in_panel_order(read, before, panel):
    profiles = to_profiles(read(before.to_csv(index=False)), panel)
    assert profiles.x_ctl.shape == (3, 978)
    assert profiles.x_ctl.dtype == np.float32
    for gene, symbol in enumerate(panel.symbols):
        if symbol in before:
            np.testing.assert_array_equal(
                profiles.x_ctl[:, gene], before[symbol].to_numpy(np.float32)
            )
    missing = panel.symbols.index("MIF")
    assert np.isnan(profiles.x_ctl[:, missing]).all()
    assert profiles.n_missing.tolist() == [1, 1, 1]


def test_column_order_does_not_matter(read, before, panel):
    shuffled = before[[*before.columns[:6], *before.columns[6:][::-1]]]
    straight, turned = (
        to_profiles(read(f.to_csv(index=False)), panel).x_ctl for f in (before, shuffled)
    )
    np.testing.assert_array_equal(straight, turned)


def test_only_samples_before_treatment_are_kept(read, paired_frame, panel):
    profiles = to_profiles(read(paired_frame.to_csv(index=False)), panel)
    assert list(profiles.samples.index) == ["Pt1_pre", "Pt2_pre", "Pt3_pre"]
    after = paired_frame[paired_frame["timepoint"] == "post"]
    check = check_cohort(read(after.to_csv(index=False)), panel)
    assert not check.can_predict
    assert "after treatment" in check.reasons[0]


@pytest.mark.parametrize(("kept", "allowed"), [(0.99, True), (0.8, True), (0.2, False)])
def test_half_of_the_landmarks_is_the_limit(read, before, panel, kept, allowed):
    n = int(kept * 977)
    cohort = read(before.iloc[:, : 6 + n].to_csv(index=False))
    check = check_cohort(cohort, panel)
    assert check.can_predict is allowed
    if allowed:
        assert to_profiles(cohort, panel).n_missing.tolist() == [978 - n] * 3
        assert f"{978 - n:,} of the 978" in check.warnings[0]
        return
    with pytest.raises(CohortError) as error:
        to_profiles(cohort, panel)
    assert f"Only {n} of the 978 landmark genes" in error.value.what
    assert "at least 489 (50%)" in error.value.what
    assert "complete expression matrix" in error.value.fix


def test_exactly_half_is_allowed(read, before, panel):
    for n, allowed in ((489, True), (488, False)):
        cohort = read(before.iloc[:, : 6 + n].to_csv(index=False))
        assert check_cohort(cohort, panel).can_predict is allowed


def test_all_blank_gene_counts_as_missing(read, before, panel):
    gene = before.columns[10]
    before[gene] = np.nan
    cohort = read(before.to_csv(index=False))
    check = check_cohort(cohort, panel)
    assert check.can_predict
    assert any(gene in w and "without any value" in w for w in check.warnings)
    assert to_profiles(cohort, panel).n_missing.tolist() == [2, 2, 2]


def test_blank_genes_count_against_the_limit(read, before, panel):
    before.iloc[:, 206:] = np.nan
    check = check_cohort(read(before.to_csv(index=False)), panel)
    assert not check.can_predict
    assert "without any value" in check.reasons[0]


def test_constant_zero_and_sparse_samples_are_left_out_with_a_sentence(read, before, panel):
    before.iloc[0, 6:] = 0.0
    before.iloc[1, 16:] = np.nan
    cohort = read(before.to_csv(index=False))
    profiles = to_profiles(cohort, panel)
    assert list(profiles.samples.index) == ["Pt3"]
    assert any("Pt1" in w and "same value" in w for w in profiles.notes)
    assert any("Pt2" in w and "fewer than 489" in w for w in profiles.notes)
    only_zero = check_cohort(read(before.head(1).to_csv(index=False), scale="log2"), panel)
    assert "No sample has a usable profile" in only_zero.reasons[0]


def test_z_scores_and_ratios_are_refused_with_help(read, before, panel):
    text = before.to_csv(index=False)
    for scale, word in (("z-score", "z-scores"), ("log-ratio", "log-ratios")):
        with pytest.raises(CohortError) as error:
            to_profiles(read(text, scale=scale), panel)
        assert word in error.value.what
        assert "before they were standardised" in error.value.fix


def test_counts_are_divided_by_all_genes_of_the_file(read, before, panel):
    counts = before.copy()
    counts.iloc[:, 6:] = np.round((np.exp2(before.iloc[:, 6:]) - 1) * 30)
    counts["NOT_A_LANDMARK"] = 25_000_000
    cohort = read(counts.to_csv(index=False))
    assert cohort.scale.detected == "counts"
    library = counts.iloc[:, 6:].sum(axis=1)
    symbol = "TP53"
    expected = np.log2(counts[symbol] / library * 1e6 + 1)
    found = to_profiles(cohort, panel).x_ctl[:, panel.symbols.index(symbol)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert any("978 genes of the file only" in w for w in check_cohort(cohort, panel).warnings)


def test_linear_values_get_log2_of_x_plus_one(read, before, panel):
    linear = before.copy()
    linear.iloc[:, 6:] = np.exp2(before.iloc[:, 6:]) - 1
    cohort = read(linear.to_csv(index=False))
    assert cohort.scale.detected == "tpm"
    straight = to_profiles(read(before.to_csv(index=False)), panel).x_ctl
    np.testing.assert_allclose(to_profiles(cohort, panel).x_ctl, straight, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("1961-04-23", "date"),
        ("23.04.1961", "date"),
        ("19610423", "date"),
        ("MRN 0012345", "record number"),
        ("00123456", "record number"),
        ("Jane Miller", "person's name"),
        ("Miller, Jane", "person's name"),
    ],
)
def test_names_that_identify_people_are_warned_about(read, before, panel, name, what):
    before.loc[0, "patient_id"] = name
    warnings = check_cohort(read(before.to_csv(index=False)), panel).warnings
    assert any(what in w for w in warnings)


def test_study_codes_are_not_warned_about(read, before, panel):
    warnings = check_cohort(read(before.to_csv(index=False)), panel).warnings
    assert not any("study codes" in w for w in warnings)


def test_rescaled_values_are_warned_about(read, before, panel):
    before.iloc[:, 6:] = before.iloc[:, 6:] / 20
    warnings = check_cohort(read(before.to_csv(index=False)), panel).warnings
    assert any("span only" in w for w in warnings)
