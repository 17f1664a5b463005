"""Pairs within a file and over two files; templates that can be uploaded as they are."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from xpert_core.cohorts import (
    check_cohort,
    pair_table,
    read_paired_files,
    template_csv,
    unmatched_patients,
)
from xpert_core.errors import CohortError


@pytest.fixture
def halves(paired_frame):
    stage = paired_frame["timepoint"]
    plain = paired_frame.drop(columns=["timepoint", "time"])
    return plain[stage == "pre"], plain[stage == "post"]


def as_bytes(frame) -> bytes:
    return frame.to_csv(index=False).encode()


def test_pair_table_lists_row_numbers(read, paired_frame):
    turned = paired_frame.iloc[[1, 0, 3, 2, 5, 4]]
    table = pair_table(read(turned.to_csv(index=False)))
    assert table.to_dict("list") == {
        "patient_id": ["Pt1", "Pt2", "Pt3"],
        "before": [1, 3, 5],
        "after": [0, 2, 4],
    }


def test_unmatched_patients_are_reported(read, paired_frame, panel):
    cohort = read(paired_frame.drop(index=[1]).to_csv(index=False))
    assert pair_table(cohort)["patient_id"].tolist() == ["Pt2", "Pt3"]
    assert unmatched_patients(cohort) == ("Pt1",)
    assert any("Pt1" in w and "no partner" in w for w in check_cohort(cohort, panel).warnings)


def test_unpaired_cohort_has_an_empty_pair_table(read, frame):
    table = pair_table(read(frame.to_csv(index=False)))
    assert table.empty
    assert list(table.columns) == ["patient_id", "before", "after"]


def test_two_files_equal_one_file(read, paired_frame, halves):
    before, after = halves
    cohort = read_paired_files(
        as_bytes(before), as_bytes(after.iloc[::-1]), filenames=("before.csv", "after.csv")
    )
    assert cohort.is_paired
    single = read(paired_frame.to_csv(index=False))
    for two, one in zip(
        pair_table(cohort).itertuples(), pair_table(single).itertuples(), strict=True
    ):
        assert two.patient_id == one.patient_id
        for mine, theirs in ((two.before, one.before), (two.after, one.after)):
            np.testing.assert_array_equal(cohort.expression[mine], single.expression[theirs])
    assert len(set(cohort.samples.index)) == 6
    assert cohort.name == "before.csv + after.csv"


def test_two_files_with_different_genes_keep_both(halves):
    before, after = halves
    gene = before.columns[20]
    extra = after.rename(columns={gene: "ONLYAFTER"})
    cohort = read_paired_files(
        as_bytes(before), as_bytes(extra), filenames=("before.csv", "after.csv")
    )
    lost, gained = cohort.identifiers.index(gene), cohort.identifiers.index("ONLYAFTER")
    assert np.isnan(cohort.expression[3:, lost]).all()
    assert np.isnan(cohort.expression[:3, gained]).all()
    np.testing.assert_array_equal(cohort.expression[3:, gained], after[gene].to_numpy(np.float32))


def test_two_files_matched_by_the_stem_of_the_sample_name(halves):
    before, after = (h.drop(columns=["cancer_type", "drug", "response"]) for h in halves)
    before = before.assign(patient_id=before["patient_id"] + "_pre")
    after = after.assign(patient_id=after["patient_id"] + "_post")
    cohort = read_paired_files(as_bytes(before), as_bytes(after), filenames=("b.csv", "a.csv"))
    assert pair_table(cohort)["patient_id"].tolist() == ["Pt1", "Pt2", "Pt3"]


def test_two_files_that_do_not_fit(paired_frame, halves):
    before, after = halves
    names = ("b.csv", "a.csv")
    strangers = after.assign(patient_id=["X1", "X2", "X3"])
    with pytest.raises(CohortError, match="No patient is in both files"):
        read_paired_files(as_bytes(before), as_bytes(strangers), filenames=names)
    linear = after.copy()
    linear.iloc[:, 4:] = np.exp2(linear.iloc[:, 4:])
    with pytest.raises(CohortError, match="different scales: log2 and tpm"):
        read_paired_files(as_bytes(before), as_bytes(linear), filenames=names)
    with pytest.raises(CohortError, match="samples marked 'post'"):
        read_paired_files(as_bytes(paired_frame), as_bytes(after), filenames=names)


@pytest.mark.parametrize(("kind", "n_rows"), [("pretreatment", 3), ("paired", 6)])
def test_templates_open_in_excel_and_upload_as_they_are(read, panel, kind, n_rows):
    content = template_csv(kind)
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert rows[0][-978:] == list(panel.symbols)
    assert len(rows) == 1 + n_rows
    cohort = read(content, f"{kind}.csv")
    assert check_cohort(cohort, panel).can_predict
    assert cohort.is_paired is (kind == "paired")


def test_unknown_template():
    with pytest.raises(CohortError, match="no template"):
        template_csv("weekly")
