"""Downloads of tables and figures. Files are made when asked for, not before."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st
import vl_convert

from app.components.charts import Chart
from app.components.text import slug, without_formulas
from xpert_core.prediction.records import X_DEG_UNIT, X_PERT_UNIT, Prediction

MIME = {
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "parquet": "application/vnd.apache.parquet",
    "h5ad": "application/x-hdf5",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "zip": "application/zip",
    "xpert": "application/zip",
}


def changes_table(changes: pd.DataFrame) -> pd.DataFrame:
    """The table behind a bar chart with its units in the column names."""
    return changes.rename(
        columns={"x_deg": f"x_deg ({X_DEG_UNIT})", "x_pert": f"x_pert ({X_PERT_UNIT})"}
    )


def csv_bytes(table: pd.DataFrame) -> bytes:
    """UTF-8 CSV with a byte-order mark, so that Excel reads Greek letters, without formulas."""
    return without_formulas(table).to_csv(index=False).encode("utf-8-sig")


def wide_table(prediction: Prediction, values: str) -> pd.DataFrame:
    """Conditions, the unit of the numbers, and one column a gene.

    Parameters
    ----------
    values : str
        ``"x_deg"`` or ``"x_pert"``.
    """
    numbers = pd.DataFrame(
        getattr(prediction, values), columns=prediction.genes.index, index=prediction.rows.index
    )
    unit = X_DEG_UNIT if values == "x_deg" else X_PERT_UNIT
    rows = prediction.rows.assign(unit=unit)
    return pd.concat([rows, numbers], axis=1).reset_index(names="row_id")


def xlsx_bytes(prediction: Prediction) -> bytes:
    """Workbook with the sheets x_deg, x_pert, genes and provenance."""
    about = pd.DataFrame(
        [
            ("unit of x_deg", X_DEG_UNIT),
            ("unit of x_pert", X_PERT_UNIT),
            *((key, _readable(value)) for key, value in prediction.provenance.items()),
        ],
        columns=["item", "value"],
    )
    sheets = {
        "x_deg": wide_table(prediction, "x_deg"),
        "x_pert": wide_table(prediction, "x_pert"),
        "genes": prediction.genes.reset_index(),
        "provenance": about,
    }
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer, engine="openpyxl") as writer:
        for name, sheet in sheets.items():
            without_formulas(sheet).to_excel(writer, sheet_name=name, index=False)
    return buffer.getvalue()


def saved_bytes(prediction: Prediction, suffix: str) -> bytes:
    """The file `Prediction.save` writes, as bytes."""
    with tempfile.TemporaryDirectory(prefix="xpert-export-") as folder:
        path = Path(folder) / f"prediction.{suffix}"
        prediction.save(path)
        return path.read_bytes()


def figure_bytes(chart: Chart, suffix: str) -> bytes:
    """The chart on white paper, as SVG or PNG, drawn on this machine."""
    spec = chart.properties(width=620).configure(background="white").to_dict()
    if suffix == "svg":
        return vl_convert.vegalite_to_svg(spec).encode("utf-8")
    return vl_convert.vegalite_to_png(spec, scale=2)


def file_stem(prediction: Prediction, run_id: str) -> str:
    """File name without suffix: cohort, model, run and today's date."""
    model = prediction.provenance.get("model_name", "model")
    cohort = prediction.provenance.get("cohort", "cohort")
    return f"xpert_{slug(cohort)}_{slug(model)}_{slug(run_id)}_{date.today().isoformat()}"


def download(
    label: str, make: Callable[[], bytes], name: str, key: str, *, wide: bool = True
) -> None:
    """A download button whose file is made at the click."""
    suffix = name.rsplit(".", 1)[-1]
    st.download_button(
        label,
        make,
        file_name=name,
        mime=MIME[suffix],
        key=key,
        on_click="ignore",
        width="stretch" if wide else "content",
    )


def export_bar(prediction: Prediction, run_id: str) -> None:
    """Downloads of the whole result."""
    stem = file_stem(prediction, run_id)
    choices: list[tuple[str, str, Callable[[], bytes]]] = [
        ("CSV", "csv", lambda: csv_bytes(wide_table(prediction, "x_deg"))),
        ("Excel", "xlsx", partial(xlsx_bytes, prediction)),
        ("Parquet", "parquet", partial(saved_bytes, prediction, "parquet")),
        ("AnnData (h5ad)", "h5ad", partial(saved_bytes, prediction, "h5ad")),
        ("Provenance (JSON)", "json", lambda: json_bytes(prediction.provenance)),
    ]
    for column, (label, suffix, make) in zip(st.columns(len(choices)), choices, strict=True):
        with column:
            download(label, make, f"{stem}.{suffix}", key=f"export-{suffix}-{run_id}")


def figure_bar(chart: Chart, table: pd.DataFrame, stem: str, key: str) -> None:
    """Downloads beside one figure: picture and the table behind it."""
    choices: list[tuple[str, str, Callable[[], bytes]]] = [
        ("Figure as SVG", "svg", partial(figure_bytes, chart, "svg")),
        ("Figure as PNG", "png", partial(figure_bytes, chart, "png")),
        ("Table as CSV", "csv", partial(csv_bytes, table)),
    ]
    for column, (label, suffix, make) in zip(st.columns(len(choices)), choices, strict=True):
        with column:
            download(label, make, f"{stem}.{suffix}", key=f"{key}-{suffix}")


def json_bytes(value: object) -> bytes:
    """Indented UTF-8; what JSON does not know, such as a date, as its text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str).encode("utf-8")


def _readable(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
