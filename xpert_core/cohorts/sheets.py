"""Excel workbooks and Parquet tables."""

from __future__ import annotations

import datetime
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpert_core.cohorts.metadata import is_metadata
from xpert_core.cohorts.readers import reader
from xpert_core.cohorts.source import Source, library_reads, refuse_unpacked_size
from xpert_core.cohorts.table import LABEL, RawTable, Row, assemble, blank_missing, unique_key
from xpert_core.errors import CohortError

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@reader(".xlsx", ".xlsm", content="zip")
def read_workbook(source: Source) -> RawTable:
    """Read the first sheet of an Excel workbook; formulas and macros are never evaluated.

    Cells that Excel stored as dates become ``1-Mar``, so that damaged gene symbols are recognised
    and repaired with the others.

    Raises
    ------
    CohortError
        When the workbook is damaged, unpacks too large, or declares XML entities.
    """
    import openpyxl

    with library_reads(source, "Excel workbook"), source.open() as stream:
        _check_archive(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # styles and extensions that do not concern values
            book = openpyxl.load_workbook(stream, read_only=True, data_only=True, keep_links=False)
        names = book.sheetnames
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # the declared size may be wrong, or a bomb
        table = assemble(_padded(_sheet_rows(sheet)), name=source.name)
    if len(names) > 1:
        table.notes.append(
            f"The workbook has {len(names)} sheets; the first one, '{names[0]}', is used."
        )
    if source.suffix == ".xlsm":
        table.notes.append("Macros of the workbook are ignored.")
    return table


def _check_archive(source: Source) -> None:
    """Refuse other archives, bombs and XML entities before the workbook is parsed."""
    with source.open() as stream, zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if not any(m.filename.lower() == "[content_types].xml" for m in members):
            raise CohortError(
                f"The file is named '{source.suffix}', but it is another kind of zip archive.",
                where=source.name,
                fix="Unzip it and upload the expression table itself.",
            )
        refuse_unpacked_size(source, sum(m.file_size for m in members))
        for member in members:
            if not member.filename.endswith((".xml", ".rels")):
                continue
            with archive.open(member) as part:
                if b"<!DOCTYPE" in part.read(2048).upper():
                    raise CohortError(
                        "The workbook declares XML entities, which no Excel file needs.",
                        where=f"{source.name}, part {member.filename}",
                        fix="Open it in Excel and save it again as .xlsx.",
                    )


def _sheet_rows(sheet: Any) -> Iterator[Row]:
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        if cells:
            yield number, [_cell_text(cell) for cell in cells]


def _padded(rows: Iterator[Row]) -> Iterator[Row]:
    """Excel leaves out empty cells at the end of a row: fill up to the header's width."""
    width = 0
    for number, cells in rows:
        width = width or (len(cells) if any(cells) else 0)
        yield number, cells + [""] * (width - len(cells))


def _cell_text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime.date):
        return f"{cell.day}-{_MONTHS[cell.month - 1]}"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


@reader(".parquet", ".pq", content="Parquet")
def read_parquet(source: Source) -> RawTable:
    """Read a Parquet table: numeric columns are values, text columns are labels.

    Raises
    ------
    CohortError
        When the file is damaged or unpacks too large.
    """
    import pyarrow.parquet as pq

    with library_reads(source, "Parquet file"), source.open() as stream:
        file = pq.ParquetFile(stream)
        size = file.metadata.num_rows * file.metadata.num_columns
        refuse_unpacked_size(source, size * np.dtype(np.float64).itemsize)
        if file.metadata.num_rows == 0:
            raise CohortError(
                "The table has columns but no row.",
                where=source.name,
                fix="Add at least one sample, or export the table again.",
            )
        table = _from_arrow(file.read(), source.name)
    blank_missing(table, source.name)
    return table


def _from_arrow(columns: Any, name: str) -> RawTable:
    """Numeric columns as values, the others as labels."""
    numeric = [
        i
        for i, field in enumerate(columns.schema)
        if _is_numeric(field.type) and not is_metadata(field.name)
    ]
    if not numeric:
        return _parquet_as_text(columns, name)
    values = np.empty((columns.num_rows, len(numeric)), dtype=np.float32)
    for target, i in enumerate(numeric):
        values[:, target] = columns.column(i).to_numpy(zero_copy_only=False)
    chosen = set(numeric)
    row_fields: dict[str, list[str]] = {}
    for i, field in enumerate(columns.schema):
        if i not in chosen:
            key = LABEL if field.name.startswith("__index_level_") else field.name
            row_fields[unique_key(row_fields, key)] = [
                _cell_text(cell) for cell in columns.column(i).to_pylist()
            ]
    labels = [columns.schema[i].name for i in numeric]
    rows = list(range(1, len(values) + 1))
    return RawTable(values, row_fields, {LABEL: labels}, rows, [i + 1 for i in numeric])


def _is_numeric(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _parquet_as_text(columns: Any, name: str) -> RawTable:
    """A table stored entirely as text: read its cells as those of a CSV file."""
    cells = [[_cell_text(c) for c in column.to_pylist()] for column in columns.columns]
    header: Row = (0, list(columns.column_names))
    body = ((i + 1, list(row)) for i, row in enumerate(zip(*cells, strict=True)))
    return assemble((row for part in ((header,), body) for row in part), name=name)
