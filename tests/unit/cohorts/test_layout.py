"""Genes in columns or in rows, with metadata on either axis."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from xpert_core.cohorts import read_cohort
from xpert_core.cohorts.source import open_source
from xpert_core.errors import CohortError


@pytest.fixture
def genes_in_rows(frame) -> pd.DataFrame:
    return frame.drop(columns="response").set_index("patient_id").T


def test_orientation_is_detected_and_stated(read, frame, genes_in_rows):
    rows = read(frame.to_csv(index=False))
    columns = read(genes_in_rows.to_csv(index_label="gene"))
    assert rows.identifiers == columns.identifiers
    np.testing.assert_array_equal(rows.expression, columns.expression)
    assert list(rows.samples.index) == list(columns.samples.index)
    assert "Samples are in rows (recognised by the gene names)." in rows.notes
    assert "Samples are in columns (recognised by the gene names)." in columns.notes


def test_orientation_can_be_overridden(read, genes_in_rows):
    cohort = read(genes_in_rows.to_csv(index_label="gene"), orientation="rows")
    assert cohort.expression.shape == (60, 3)
    assert cohort.identifiers == ("Pt1", "Pt2", "Pt3")


def test_metadata_rows_above_genes_in_rows(read, genes_in_rows):
    lines = genes_in_rows.to_csv(index_label="gene").splitlines()
    lines[1:1] = ["patient_id,001,002,001", "timepoint,baseline,baseline,day 14", "dose,10,,20"]
    lines[1:1] = ["tumour site,skin,lymph node,skin"]
    cohort = read("\n".join(lines))
    assert cohort.expression.shape == (3, 60)
    assert cohort.samples["patient_id"].tolist() == ["001", "002", "001"]
    assert cohort.samples["timepoint"].tolist() == ["pre", "pre", "post"]
    assert cohort.samples["dose"].tolist() == ["10", None, "20"]
    assert cohort.samples["tumour site"].tolist() == ["skin", "lymph node", "skin"]
    assert list(cohort.samples.index) == ["Pt1", "Pt2", "Pt3"]


def test_numeric_entrez_ids_in_rows(read, genes_in_rows, panel):
    entrez = dict(zip(panel.symbols, panel.entrez, strict=True))
    table = genes_in_rows[[gene in entrez for gene in genes_in_rows.index]]
    table.index = [entrez[gene] for gene in table.index]
    cohort = read(table.to_csv(index_label="GeneID"))
    assert cohort.identifiers == tuple(map(str, table.index))
    assert list(cohort.samples.index) == ["Pt1", "Pt2", "Pt3"]


def test_patients_numbered_from_one_are_not_entrez_ids(read, frame):
    table = frame.iloc[:, 2:5]
    table = pd.concat([table] * 70, ignore_index=True)
    table.insert(0, "no", range(1, len(table) + 1))
    cohort = read(table.to_csv(index=False))
    assert cohort.expression.shape == (210, 3)
    assert list(cohort.samples.index[:2]) == ["1", "2"]


def test_annotation_columns_beside_genes_in_rows(read, genes_in_rows):
    table = genes_in_rows.copy()
    table.insert(0, "Chr", "chr1")
    table.insert(1, "Length", range(1000, 1060))
    table.insert(2, "Description", "a gene")
    cohort = read(table.to_csv(index_label="Geneid"))
    assert list(cohort.samples.index) == ["Pt1", "Pt2", "Pt3"]
    assert cohort.identifiers == tuple(genes_in_rows.index)


def test_columns_without_a_name_are_left_out(read, frame):
    text = frame.rename(columns={frame.columns[7]: ""}).to_csv(index=False)
    cohort = read(text)
    assert cohort.expression.shape == (3, 59)
    assert "Genes without a name are left out: 1." in cohort.notes


def test_one_sample(read, frame):
    cohort = read(frame.head(1).to_csv(index=False))
    assert cohort.expression.shape == (1, 60)


def test_text_columns_between_genes_are_metadata(read, frame):
    frame.insert(10, "biopsy remark", ["", "necrotic", ""])
    cohort = read(frame.to_csv(index=False))
    assert cohort.samples["biopsy remark"].tolist() == [None, "necrotic", None]
    assert "biopsy remark" not in cohort.identifiers


def test_late_text_column_beyond_the_preview_is_metadata(read, paired_frame):
    table = pd.concat([paired_frame] * 20, ignore_index=True)
    table["patient_id"] = [f"P{i}" for i in range(len(table))]
    table.insert(6, "remark", [""] * (len(table) - 1) + ["late remark"])
    cohort = read(table.to_csv(index=False))
    assert cohort.samples["remark"].iloc[-1] == "late remark"
    assert cohort.expression.shape == (120, 977)


def test_text_in_one_cell_of_genes_in_rows(read, genes_in_rows):
    table = genes_in_rows.astype(object)
    table.iloc[4, 1] = "failed"
    with pytest.raises(CohortError, match="1 expression cell holds text") as error:
        read(table.to_csv(index_label="gene"))
    assert "row 6, column 'Pt2': 'failed'" in error.value.where


def test_path_and_bytes_give_the_same_cohort(frame, tmp_path):
    path = tmp_path / "cohort.csv"
    frame.to_csv(path, index=False)
    from_path, from_bytes = read_cohort(path), read_cohort(path.read_bytes(), filename=path.name)
    np.testing.assert_array_equal(from_path.expression, from_bytes.expression)
    assert from_path.input_sha256 == from_bytes.input_sha256 == open_source(path).sha256()
    assert from_path.notes == from_bytes.notes


def test_no_sample_is_lost_in_silence(read, frame, genes_in_rows):
    failed = frame.astype(object)
    failed.iloc[1, 2:] = "failed"
    with pytest.raises(CohortError, match="The row 'Pt2' holds no expression values"):
        read(failed.to_csv(index=False))
    frame["patient_id"] = ["Pt1", "diagnosis", "Pt3"]  # also the name of a metadata column
    with pytest.raises(CohortError, match="The row 'diagnosis' holds no expression values"):
        read(frame.to_csv(index=False))
    genes_in_rows["Pt2"] = "failed"
    notes = read(genes_in_rows.to_csv(index_label="gene")).notes
    assert "Columns taken as descriptions of the genes, not as samples: 'Pt2'." in notes
