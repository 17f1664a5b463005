"""Parts of the pages that need no page."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import altair as alt
import numpy as np
import openpyxl
import pandas as pd
import pytest

from app.components import charts, errors, exports, text
from app.components.molecule import structure_svg
from app.pace import Pace, in_words
from xpert_core.prediction import Prediction, load_prediction
from xpert_core.prediction.records import X_DEG_UNIT, X_PERT_UNIT


@pytest.fixture
def prediction() -> Prediction:
    """Two samples, four genes, one gene not measured, hostile names."""
    rows = pd.DataFrame(
        {
            "sample_id": ["=cmd|'/c calc'!A1", "P2"],
            "patient_id": ["+1", "P2"],
            "drug": ["-drug", "-drug"],
            "smiles": ["CCO", "CCO"],
            "inchikey": ["LFQSCWFLJHTTHZ-UHFFFAOYSA-N"] * 2,
            "dose_um": [1.0, 1.0],
            "time_h": [24.0, 24.0],
            "n_missing_genes": [1, 1],
            "drug_fallback": ["", ""],
        },
        index=pd.Index(["r1", "r2"], name="row_id"),
    )
    genes = pd.DataFrame(
        {
            "entrez_id": [1, 2, 3, 4],
            "ensembl_id": [""] * 4,
            "measured": [True, True, True, False],
        },
        index=pd.Index(["A", "B", "C", "D"], name="symbol"),
    )
    x_deg = np.array([[0.5, -2.0, 0.0, 1.0], [0.7, -1.0, 0.1, -3.0]], dtype=np.float32)
    return Prediction(rows, genes, x_deg, x_deg + 8, {"cohort": "=evil", "model": {"name": "m"}})


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\0"])
def test_exported_text_is_no_formula(start: str) -> None:
    table = pd.DataFrame({f"{start}name": [f"{start}1+1"], "value": [-1.5]})
    safe = text.without_formulas(table)
    assert safe.iloc[0, 0] == f"'{start}1+1"
    assert safe.columns[0] == f"'{start}name"
    assert safe["value"].tolist() == [-1.5]


def test_csv_export_keeps_numbers_and_quotes_formulas(prediction: Prediction) -> None:
    content = exports.csv_bytes(exports.wide_table(prediction, "x_deg"))
    table = pd.read_csv(io.BytesIO(content), encoding="utf-8-sig")
    np.testing.assert_allclose(table[["A", "B", "C", "D"]], prediction.x_deg, rtol=1e-6)
    assert table["sample_id"][0].startswith("'=")
    assert table["drug"][0] == "'-drug"


def test_csv_export_states_its_unit(prediction: Prediction) -> None:
    for values, unit in (("x_deg", X_DEG_UNIT), ("x_pert", X_PERT_UNIT)):
        content = exports.csv_bytes(exports.wide_table(prediction, values))
        table = pd.read_csv(io.BytesIO(content), encoding="utf-8-sig")
        assert set(table["unit"]) == {unit}
    columns = exports.changes_table(charts.gene_changes(prediction, 0)).columns
    assert f"x_deg ({X_DEG_UNIT})" in columns and f"x_pert ({X_PERT_UNIT})" in columns


def test_workbook_holds_every_sheet_without_formulas(prediction: Prediction) -> None:
    book = openpyxl.load_workbook(io.BytesIO(exports.xlsx_bytes(prediction)))
    assert book.sheetnames == ["x_deg", "x_pert", "genes", "provenance"]
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    assert not [cell for cell in cells if cell.data_type == "f"]


def test_every_file_format_reopens(prediction: Prediction, tmp_path: Path) -> None:
    target = tmp_path / "result.h5ad"
    target.write_bytes(exports.saved_bytes(prediction, "h5ad"))
    np.testing.assert_array_equal(load_prediction(target).x_deg, prediction.x_deg)
    table = pd.read_parquet(io.BytesIO(exports.saved_bytes(prediction, "parquet")))
    np.testing.assert_array_equal(table[["A", "B", "C", "D"]], prediction.x_deg)


def test_figures_are_drawn_here_on_white(prediction: Prediction) -> None:
    chart = charts.bar_chart(charts.gene_changes(prediction, 0), 4, "P1")
    svg = exports.figure_bytes(chart, "svg").decode("utf-8")
    assert svg.startswith("<svg") and "log2 fold change" in svg
    assert exports.figure_bytes(chart, "png").startswith(b"\x89PNG")


def test_changes_are_ranked_and_mark_what_was_not_measured(prediction: Prediction) -> None:
    changes = charts.gene_changes(prediction, 0)
    assert changes["gene"].tolist() == ["B", "D", "A", "C"]
    assert changes["direction"].tolist() == ["down", "up", "up", "none"]
    assert changes["measured"].tolist() == ["yes", "no", "yes", "yes"]


def test_heat_map_tells_missing_from_zero(prediction: Prediction) -> None:
    prediction.x_deg[0, 1] = np.nan
    table = charts.heat_table(prediction, np.arange(2), 4, by_variability=False)
    assert np.isnan(table.loc[table.index[0], "B"])
    chart = charts.heat_map(table, prediction.genes["measured"], "x")
    cells = next(iter(chart.to_dict()["datasets"].values()))
    assert next(cell["x_deg"] for cell in cells if cell["gene"] == "B") is None
    assert {cell["gene"] for cell in cells} == {"A", "B", "C", "D ○"}
    assert isinstance(chart, alt.LayerChart) and "heat map" in chart.description.lower()


def test_markdown_of_files_is_shown_letter_by_letter() -> None:
    assert text.plain("![x](http://192.0.2.1/a)") == r"\!\[x\]\(http\://192\.0\.2\.1/a\)"


def test_log_holds_no_values(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("patient Jane Doe")
    except ValueError as error:
        with caplog.at_level(logging.ERROR):
            number = errors.log_unexpected(error)
    assert number in caplog.text and "ValueError" in caplog.text
    assert "Jane Doe" not in caplog.text


def test_structures_are_drawn_as_svg() -> None:
    svg = structure_svg("CCO")
    assert "<svg" in svg and "http://www.w3.org" in svg


def test_pace_learns_from_what_a_run_took() -> None:
    pace = Pace(per_prediction=0.1)
    pace.learn(100, 30.0)
    assert pace.per_prediction == pytest.approx(0.2)
    assert in_words(3) == "a few seconds"
    assert in_words(240) == "about 4 minutes"
