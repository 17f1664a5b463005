"""Delimited text in the encodings, delimiters and line ends that spreadsheets produce."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from xpert_core.cohorts import read_cohort
from xpert_core.errors import CohortError


def expected(frame: pd.DataFrame) -> np.ndarray:
    return frame.iloc[:, 2:].to_numpy(np.float32)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_every_encoding_gives_the_same_cohort(frame, read, encoding):
    frame["response"] = ["réponse", "SD", "PD"]
    cohort = read(frame.to_csv(index=False).encode(encoding))
    np.testing.assert_array_equal(cohort.expression, expected(frame))
    assert cohort.samples["response"].tolist() == ["réponse", "SD", "PD"]
    if encoding != "utf-8":
        assert any("encoded as" in note for note in cohort.notes)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(frame, read, delimiter, line_end):
    text = frame.to_csv(index=False, sep=delimiter, lineterminator=line_end)
    np.testing.assert_array_equal(read(text).expression, expected(frame))


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_decimal_comma_is_recognised_and_reported(frame, read, delimiter):
    cohort = read(frame.to_csv(index=False, sep=delimiter, decimal=","))
    np.testing.assert_array_equal(cohort.expression, expected(frame))
    assert "Numbers are written with a decimal comma." in cohort.notes


def test_mixed_decimal_marks_are_refused(frame, read):
    text = frame.to_csv(index=False, sep=";", decimal=",")
    value = text.splitlines()[2].split(";")[10]
    with pytest.raises(CohortError) as error:
        read(text.replace(f";{value};", ";1.234;", 1))
    assert "'1.234'" in error.value.where


def test_thousands_separators_are_not_taken_for_decimals(frame, read):
    frame = frame.astype({frame.columns[2]: object})
    frame.iloc[0, 2] = "1,234"
    with pytest.raises(CohortError, match="text instead of a number") as error:
        read(frame.to_csv(index=False))
    assert "'1,234'" in error.value.where


def test_quoted_fields_with_delimiter_and_newline(frame, read):
    frame["response"] = ['partial, "PR"', "stable\ndisease", "PD"]
    cohort = read(frame.to_csv(index=False))
    assert cohort.samples["response"].tolist() == ['partial, "PR"', "stable\ndisease", "PD"]
    np.testing.assert_array_equal(cohort.expression, expected(frame))


def test_excel_delimiter_hint_and_comment_lines(frame, read):
    body = frame.to_csv(index=False, sep=";")
    for prefix in ("sep=;\n", "# Program: quantifier v2\n"):
        np.testing.assert_array_equal(read(prefix + body).expression, expected(frame))


def test_header_one_cell_shorter_as_r_writes_it(frame, read):
    table = frame.drop(columns="response").set_index("patient_id")
    text = table.to_csv(sep="\t")
    cohort = read(text.replace("patient_id\t", "", 1), "matrix.txt")
    assert list(cohort.samples.index) == list(frame["patient_id"])
    np.testing.assert_array_equal(cohort.expression, expected(frame))


def test_trailing_delimiters_and_blank_lines(frame, read):
    lines = frame.to_csv(index=False).splitlines()
    text = "\n\n".join(line + ",," for line in lines)
    np.testing.assert_array_equal(read(text).expression, expected(frame))


def test_gzip_is_unpacked_and_a_bomb_is_refused(frame, read):
    packed = gzip.compress(frame.to_csv(index=False).encode())
    cohort = read(packed, "cohort.csv.gz")
    np.testing.assert_array_equal(cohort.expression, expected(frame))
    bomb = gzip.compress(b"0," * 2_000_000)
    with pytest.raises(CohortError, match=r"unpacks to more than 1\.0 MB"):
        read_cohort(bomb, filename="bomb.csv.gz", limit_mb=1)
    with pytest.raises(CohortError, match="damaged or was cut off"):
        read(packed[:-20], "cut.csv.gz")


def test_nul_bytes_name_the_place(frame, read):
    content = frame.to_csv(index=False).encode()
    with pytest.raises(CohortError, match="NUL bytes") as error:
        read(content[:500] + b"\0" + content[500:])
    assert "byte 501" in error.value.where


def test_ragged_row_names_row_and_widths(frame, read):
    lines = frame.to_csv(index=False).splitlines()
    lines[2] = lines[2].rsplit(",", 5)[0]
    with pytest.raises(CohortError, match="Row 3 has 57 cells, but the header has 62"):
        read("\n".join(lines))


def test_unclosed_quote_is_an_error_and_not_a_hang(frame, read):
    text = frame.to_csv(index=False).replace("\nPt2", '\n"Pt2', 1) + "x" * 200_000
    with pytest.raises(CohortError):
        read(text)


def test_single_column_explains_the_delimiter(read):
    with pytest.raises(CohortError, match="Only one column"):
        read("TP53\n1.5\n2.5\n")
