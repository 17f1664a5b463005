"""Files that must be refused in words: what, where, how to fix."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest

from xpert_core.cohorts import check_cohort, read_cohort
from xpert_core.errors import CohortError


def refused(read, content, name="upload.csv", **options) -> CohortError:
    with pytest.raises(CohortError) as caught:
        read(content, name, **options)
    error = caught.value
    assert error.what.endswith((".", "?")), "a full sentence"
    assert name.split("/")[-1] in error.where or not error.where
    return error


def test_empty_file(read):
    assert refused(read, b"").what == "The file is empty."
    assert "blank lines" in refused(read, b",,\n,,\n").what


def test_header_only(read, frame):
    error = refused(read, frame.head(0).to_csv(index=False))
    assert "header line but no row" in error.what
    assert error.fix


def test_no_matching_gene(read):
    error = refused(read, "patient_id,height,weight\nP1,1.7,70.5\nP2,1.8,80.5\n")
    assert "No gene was recognised" in error.what
    assert "'height'" in error.where
    assert "HGNC" in error.fix


def test_no_matching_gene_with_stated_orientation_is_refused_by_the_check(read, panel):
    text = "patient_id,AAAA_9,BBBB_9\nP1,1.7,7.5\nP2,1.8,8.5\n"
    check = check_cohort(read(text, orientation="rows"), panel)
    assert not check.can_predict
    assert "Only 0 of the 978" in check.reasons[0]


def test_text_in_numbers_names_first_cells_and_count(read, frame):
    gene = frame.columns[5]
    broken = frame.astype({gene: object})
    broken.loc[1, gene] = "high"
    broken = broken.astype({frame.columns[9]: object})
    broken.loc[2, frame.columns[9]] = "<0.1"
    error = refused(read, broken.to_csv(index=False))
    assert error.what == "2 expression cells hold text instead of a number."
    assert f"row 3, column '{gene}': 'high'" in error.where
    assert "'<0.1'" in error.where


def test_a_gene_column_of_text_only_is_not_taken_for_metadata(read, frame):
    gene = frame.columns[4]
    frame[gene] = ["low", "high", "mid"]
    error = refused(read, frame.to_csv(index=False))
    assert error.what.startswith("3 expression cells")
    assert f"column '{gene}'" in error.where


def test_underscored_numbers_are_text(read, frame):
    gene = frame.columns[5]
    frame = frame.astype({gene: object})
    frame.loc[0, gene] = "1_000"
    assert "'1_000'" in refused(read, frame.to_csv(index=False)).where


@pytest.mark.parametrize("mark", ["", "NA", "NaN", "nan", ".", "-666", "N/A", "#N/A", "null", "-"])
def test_missing_marks_become_nan(read, frame, mark):
    gene = frame.columns[5]
    frame = frame.astype({gene: object})
    frame.loc[1, gene] = mark
    cohort = read(frame.to_csv(index=False))
    column = cohort.identifiers.index(gene)
    assert np.isnan(cohort.expression[1, column])
    assert np.isfinite(cohort.expression[[0, 2], column]).all()


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e60"])
def test_infinite_numbers_are_refused(read, frame, value):
    gene = frame.columns[5]
    frame = frame.astype({gene: object})
    frame.loc[2, gene] = value
    error = refused(read, frame.to_csv(index=False))
    assert "infinite" in error.what
    assert f"row 4, column '{gene}'" in error.where


def test_every_cell_blank(read, frame):
    frame.iloc[:, 2:] = np.nan
    assert "every cell is blank" in refused(read, frame.to_csv(index=False)).what


def test_duplicated_patients_name_rows_and_fix(read, frame):
    frame["patient_id"] = ["Pt1", "Pt2", "Pt1"]
    error = refused(read, frame.to_csv(index=False))
    assert "'Pt1' in rows 2, 4" in error.where
    assert "timepoint" in error.fix
    assert "sample_id" in error.fix


def test_duplicated_sample_in_the_header(read, frame):
    table = frame.drop(columns="response").set_index("patient_id").T
    table.columns = ["S1", "S2", "S1"]
    error = refused(read, table.to_csv())
    assert "'S1' in columns 2, 4" in error.where


def test_pickle_named_csv_is_never_opened(read, tmp_path):
    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    for protocol in (0, 2, 5):
        error = refused(read, pickle.dumps(Payload(), protocol=protocol), "cohort.csv")
        assert "pickle" in error.what
    assert not witness.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x89HDF\r\n\x1a\n" + b"\1" * 100, "HDF5"),
        (b"PK\x03\x04" + b"\1" * 100, "zip"),
        (b"PAR1" + b"\1" * 100, "Parquet"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\xd0\xcf\x11\xe0" + b"\1" * 100, "Excel"),
    ],
)
def test_other_content_named_csv(read, content, said):
    assert said in refused(read, content, "cohort.csv").what


def test_text_named_h5ad_and_unknown_extension(read, frame):
    text = frame.to_csv(index=False)
    assert "plain text" in refused(read, text, "cohort.h5ad").what
    assert ".csv" in refused(read, text, "cohort.docx").fix


def test_zip_bomb_and_foreign_zip_named_xlsx(read):
    def archive(members: dict[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members.items():
                file.writestr(name, content)
        return buffer.getvalue()

    types = {"[Content_Types].xml": b"<Types/>"}
    bomb = archive({**types, "xl/worksheets/sheet1.xml": b"0" * 9_000_000})
    error = refused(read, bomb, "bomb.xlsx", limit_mb=1)
    assert "would unpack to 9 MB" in error.what
    assert "another kind of zip" in refused(read, archive({"a.txt": b"x"}), "a.xlsx").what
    assert "damaged" in refused(read, bomb[:200], "cut.xlsx").what
    assert "damaged" in refused(read, archive(types), "hollow.xlsx").what
    entities = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'
    laughs = archive({**types, "xl/workbook.xml": entities})
    assert "XML entities" in refused(read, laughs, "laughs.xlsx").what


def test_size_gate_comes_before_parsing(read):
    error = refused(read, b"\xff" * 3_000_000, "large.csv", limit_mb=1)
    assert error.what == "The file is too large: 2.9 MB, and the limit is 1 MB."


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(CohortError, match="not found"):
            read_cohort(path)


def test_unknown_options(read, frame):
    text = frame.to_csv(index=False)
    assert "z-score" in refused(read, text, scale="decibel").fix
    assert "columns" in refused(read, text, orientation="diagonal").fix


def test_folders_in_the_upload_name_are_dropped(read, frame):
    cohort = read(frame.to_csv(index=False), "../../etc\\evil/cohort.csv")
    assert cohort.name == "cohort.csv"


def test_hostile_sample_names_are_kept_as_text(read, frame):
    names = ['=cmd|"/C calc"!A0', "<script>alert(1)</script>", "../../x" + "é🧬" * 3000]
    frame["patient_id"] = names
    cohort = read(frame.to_csv(index=False))
    assert cohort.samples["patient_id"].tolist() == names


def test_direction_marks_and_blanks_around_names_are_removed(read, frame):
    frame["patient_id"] = ["\u202ePt1\u202c", "\ufeffPt2", " Pt3\u00a0"]
    cohort = read(frame.to_csv(index=False))
    assert cohort.samples["patient_id"].tolist() == ["Pt1", "Pt2", "Pt3"]
