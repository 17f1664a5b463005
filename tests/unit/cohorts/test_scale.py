"""Scales recognised from real profiles brought to each scale, and the way back to log2."""

from __future__ import annotations

import numpy as np
import pytest

from xpert_core.cohorts import read_cohort
from xpert_core.cohorts.records import Cohort
from xpert_core.cohorts.scale import detect_scale, scale_name
from xpert_core.errors import CohortError
from xpert_core.paths import assets_dir


@pytest.fixture(scope="module")
def melanoma() -> Cohort:
    """51 real samples x 22,069 genes, log2(CPM + 1)."""
    folder = assets_dir() / "examples"
    return read_cohort(folder / "user_upload_pretreatment_melanoma_nivolumab.csv")


@pytest.fixture(scope="module")
def cpm(melanoma) -> np.ndarray:
    return np.exp2(melanoma.expression.astype(np.float64)) - 1


@pytest.fixture(scope="module")
def counts(cpm) -> np.ndarray:
    depth = np.linspace(20, 60, len(cpm))[:, None]  # reads per million, differing by sample
    return np.round(cpm * depth)


def test_log2_and_its_evidence(melanoma):
    assert melanoma.scale.detected == "log2"
    assert melanoma.scale.transform == "none"
    assert "log2(CPM + 1)" in melanoma.scale.evidence


def test_counts(counts):
    report = detect_scale(counts.astype(np.float32))
    assert (report.detected, report.transform) == ("counts", "log2(CPM + 1)")
    assert "whole numbers" in report.evidence


def test_expected_counts_with_fractions(counts):
    values = counts.copy()
    values[:, ::4] += 0.37
    assert detect_scale(values.astype(np.float32)).detected == "counts"


def test_cpm_of_counts(counts):
    exact = counts / counts.sum(axis=1, keepdims=True) * 1e6
    assert detect_scale(exact.astype(np.float32)).detected == "cpm"


def test_tpm_and_fpkm(cpm):
    length = np.random.default_rng(0).uniform(0.3, 8, cpm.shape[1])
    fpkm = cpm / length
    tpm = fpkm / fpkm.sum(axis=1, keepdims=True) * 1e6
    for values in (fpkm, tpm, tpm[:, :3000]):
        report = detect_scale(values.astype(np.float32))
        assert (report.detected, report.transform) == ("tpm", "log2(x + 1)")
    assert detect_scale(np.round(tpm).astype(np.float32)).detected in ("tpm", "cpm")


def test_z_scores(melanoma):
    x = melanoma.expression
    x = x[:, x.std(axis=0) > 0.1]
    assert detect_scale((x - x.mean(axis=0)) / x.std(axis=0)).detected == "z-score"


def test_log_ratio_to_the_mean_of_the_cohort(melanoma):
    x = melanoma.expression
    assert detect_scale(x - x.mean(axis=0)).detected == "log-ratio"
    single = detect_scale(x[:1] - x[1:2])  # one sample cannot tell the two apart; neither predicts
    assert single.detected in ("log-ratio", "z-score")
    assert single.transform == "none possible"


def test_log2_with_negative_values_is_not_a_ratio(cpm, melanoma):
    slightly = melanoma.expression - 0.2
    pseudo_count = np.log2(cpm + 0.001)  # a third of the cells near -10
    for values in (slightly, pseudo_count, pseudo_count[:1]):
        assert detect_scale(values.astype(np.float32)).detected == "log2"


def test_override_is_reported_and_checked(melanoma):
    report = detect_scale(melanoma.expression, "tpm")
    assert (report.detected, report.used) == ("log2", "tpm")
    assert "You chose tpm" in report.evidence
    with pytest.raises(CohortError, match="negative values"):
        detect_scale(melanoma.expression - 3, "counts")


@pytest.mark.parametrize(
    ("text", "name"),
    [("Raw counts", "counts"), ("TPM", "tpm"), ("FPKM", "tpm"), ("zscore", "z-score"),
     ("log ratio", "log-ratio"), ("LOG2", "log2")],
)  # fmt: skip
def test_scale_spellings(text, name):
    assert scale_name(text) == name
