"""Sample columns under their common spellings, timepoints, and sample names."""

from __future__ import annotations

import pytest

from xpert_core.cohorts import SAMPLE_COLUMNS
from xpert_core.cohorts.metadata import timepoint
from xpert_core.errors import CohortError


@pytest.mark.parametrize(
    "text",
    [
        *("pre", "Pre", "PRE-treatment", "before", "Before treatment", "baseline", "Day 0", "d-7"),
        *("day -1", "0 h", "week 0", "C1D1", "ctl", "ctl_vehicle", "untreated", "screening", "T0"),
        "pre_dose",
    ],
)
def test_before_treatment(text):
    assert timepoint(text) == "pre"


@pytest.mark.parametrize(
    "text",
    [
        *("post", "After", "on-treatment", "On treatment", "on", "day 14", "D28", "week 2", "24h"),
        *("C2D1", "C1D15", "trt_cp", "EOT", "follow-up", "post-treatment biopsy", "3 months", "T1"),
        "72 hours",
    ],
)
def test_after_treatment(text):
    assert timepoint(text) == "post"


@pytest.mark.parametrize("text", ["yes", "7", "arm A", "visit 2"])
def test_not_understood(text):
    assert timepoint(text) is None


def test_numbers_counted_from_zero_are_moments(read, frame):
    frame.insert(1, "timepoint", ["0", "2", "0"])
    assert read(frame.to_csv(index=False)).samples["timepoint"].tolist() == ["pre", "post", "pre"]


def test_unknown_timepoint_names_its_row(read, frame):
    frame.insert(1, "visit", ["baseline", "arm B", ""])
    with pytest.raises(CohortError, match="The timepoint 'arm B' is not understood") as error:
        read(frame.to_csv(index=False))
    assert "row 3" in error.value.where


@pytest.mark.parametrize("name", ["Patient ID", "patient", "Subject", "PatientID", "donor"])
def test_patient_column_spellings(read, frame, name):
    cohort = read(frame.rename(columns={"patient_id": name}).to_csv(index=False))
    assert cohort.samples["patient_id"].tolist() == ["Pt1", "Pt2", "Pt3"]
    assert name not in cohort.samples.columns or name == "patient_id"


def test_lincs_columns_become_dose_and_time_with_units(read, frame):
    frame = frame.drop(columns="patient_id")
    about = {
        "inst_id": ["w1", "w2", "w3"],
        "pert_type": ["trt_cp", "ctl_vehicle", "trt_cp"],
        "pert_iname": ["trametinib", "DMSO", "vemurafenib"],
        "pert_dose": ["10", "-666", "0.37"],
        "pert_dose_unit": ["um", "-666", "um"],
        "pert_time": [24, 24, 6],
        "pert_time_unit": ["h", "h", "h"],
        "pert_id": ["BRD-1", "DMSO", "BRD-2"],
    }
    for position, (name, values) in enumerate(about.items()):
        frame.insert(position, name, values)
    samples = read(frame.to_csv(index=False)).samples
    assert list(samples.index) == ["w1", "w2", "w3"]
    assert samples["drug"].tolist() == ["trametinib", "DMSO", "vemurafenib"]
    assert samples["dose"].tolist() == ["10 um", None, "0.37 um"]
    assert samples["time"].tolist() == ["24 h", "24 h", "6 h"]
    assert samples["timepoint"].tolist() == ["post", "pre", "post"]
    assert samples["pert_id"].tolist() == ["BRD-1", "DMSO", "BRD-2"]


def test_standard_columns_always_exist(read, frame):
    samples = read(frame.to_csv(index=False)).samples
    assert list(samples.columns[: len(SAMPLE_COLUMNS)]) == list(SAMPLE_COLUMNS)
    assert samples["dose"].isna().all()
    assert samples.index.name == "sample_id"


@pytest.mark.parametrize("name", ["name", "index", "_index"])
def test_columns_with_reserved_names_survive(read, frame, name):
    frame.insert(1, name, ["a", "b", "b"])
    samples = read(frame.to_csv(index=False)).samples
    kept = "original_index" if name == "_index" else name
    assert samples[kept].tolist() == ["a", "b", "b"]
    assert list(samples.index) == ["Pt1", "Pt2", "Pt3"]


@pytest.mark.parametrize("name", ["name", "index", "_index", "", "Unnamed: 0"])
def test_first_column_with_a_common_name_gives_the_samples(read, frame, name):
    renamed = frame.drop(columns="response").rename(columns={"patient_id": name})
    samples = read(renamed.to_csv(index=False)).samples
    assert list(samples.index) == ["Pt1", "Pt2", "Pt3"]
    assert samples["patient_id"].tolist() == ["Pt1", "Pt2", "Pt3"]


def test_row_numbers_of_a_spreadsheet_are_not_the_sample_names(read, frame):
    assert list(read(frame.to_csv(index=True)).samples.index) == ["Pt1", "Pt2", "Pt3"]


def test_numeric_patient_numbers(read, frame):
    frame["patient_id"] = ["007", "008", "101"]
    assert list(read(frame.to_csv(index=False)).samples.index) == ["007", "008", "101"]


def test_repeated_patients_with_timepoints_get_distinct_names(read, paired_frame):
    samples = read(paired_frame.to_csv(index=False)).samples
    assert list(samples.index[:2]) == ["Pt1_pre", "Pt1_post"]
    assert samples["patient_id"].tolist()[:2] == ["Pt1", "Pt1"]


def test_sample_ids_allow_several_samples_of_a_patient(read, frame):
    frame["patient_id"] = "Pt1"
    frame.insert(1, "sample_id", ["a", "b", "c"])
    samples = read(frame.to_csv(index=False)).samples
    assert list(samples.index) == ["a", "b", "c"]
    assert samples["patient_id"].tolist() == ["Pt1"] * 3


def test_patient_and_timepoint_from_sample_names(read, paired_frame):
    table = paired_frame.iloc[:, 6:].copy()
    table.index = ["P1_pre", "P1_post", "P2.Pre", "P2.Post", "P3-before", "P3-after"]
    cohort = read(table.T.to_csv())
    assert cohort.samples["patient_id"].tolist() == ["P1", "P1", "P2", "P2", "P3", "P3"]
    assert cohort.samples["timepoint"].tolist() == ["pre", "post"] * 3
    assert cohort.is_paired


def test_numeric_metadata_is_not_expression(read, frame):
    frame.insert(1, "age", [61, 48, 70])
    cohort = read(frame.to_csv(index=False))
    assert "age" not in cohort.identifiers
    assert cohort.samples["age"].tolist() == ["61", "48", "70"]
