"""GEO series matrix files: sample fields of the header, values of the table."""

from __future__ import annotations

import csv
import gzip
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.cohorts.table import MISSING, unique_key
from xpert_core.errors import DataError
from xpert_core.preparation.sheets import READ_ERRORS, need_file, unreadable

_BEGIN, _END = "!series_matrix_table_begin", "!series_matrix_table_end"
_SAMPLE, _SERIES = "!Sample_", "!Series_"
_CHARACTERISTICS = "characteristics_ch1"
#: Sample fields that say nothing of the sample itself.
_DULL = ("contact", "supplementary", "data_row", "data_processing", "relation", "taxid", "status")


@dataclass(frozen=True)
class SeriesMatrix:
    """One series matrix.

    Attributes
    ----------
    name : str
        File name.
    series : dict of str
        Fields of the series: ``geo_accession``, ``title``, ``platform_id``...
    samples : DataFrame
        Index: sample accession. Columns: fields of the samples; characteristics under their own
        names.
    identifiers : tuple of str
        ``ID_REF``.
    values : ndarray of float32, shape (samples, identifiers)
        NaN where missing.
    """

    name: str
    series: dict[str, str]
    samples: pd.DataFrame
    identifiers: tuple[str, ...]
    values: np.ndarray


def read_series_matrix(path: Path) -> SeriesMatrix:
    """Read ``*_series_matrix.txt``, gzipped or not.

    Raises
    ------
    DataError
        When it is missing, damaged or cut off, holds no values, or a row does not fit.
    """
    need_file(path, "series matrix")
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    opened = gzip.open if packed else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="replace", newline="") as stream:
            return _parse(path, csv.reader(stream, delimiter="\t"))
    except READ_ERRORS as error:
        raise unreadable(path, "series matrix", error) from error


def _parse(path: Path, lines: Iterator[list[str]]) -> SeriesMatrix:
    series: dict[str, str] = {}
    fields: dict[str, list[str]] = {}
    for cells in lines:
        head = cells[0] if cells else ""
        if head.startswith(_SERIES):
            series.setdefault(head.removeprefix(_SERIES), " ".join(cells[1:]).strip())
        elif head.startswith(_SAMPLE):
            _take_field(fields, head.removeprefix(_SAMPLE), [c.strip() for c in cells[1:]])
        elif head == _BEGIN:
            break
    else:
        raise DataError(
            "The file is no GEO series matrix, or it is cut off before its table.",
            where=f"{path.name}: no line {_BEGIN}",
            fix="Download GSE..._series_matrix.txt.gz from the series' page.",
        )
    accessions = [c.strip() for c in next(lines, [""])[1:]]
    identifiers, values = _table(path.name, lines, len(accessions))
    samples = pd.DataFrame(
        {name: cells for name, cells in fields.items() if len(cells) == len(accessions)},
        index=pd.Index(accessions, name="sample_id"),
    )
    if samples.index.has_duplicates:
        raise DataError(
            "Samples occur more than once in the series matrix.",
            where=f"{path.name}: {samples.index[samples.index.duplicated()][0]}",
        )
    return SeriesMatrix(path.name, series, samples, identifiers, values)


def _take_field(fields: dict[str, list[str]], name: str, cells: list[str]) -> None:
    """A sample line; of characteristics (``key: value``) each cell says itself what it is."""
    if any(dull in name for dull in _DULL):
        return
    if name != _CHARACTERISTICS:
        fields[unique_key(fields, name)] = cells
        return
    for i, cell in enumerate(cells):
        key, mark, value = cell.partition(":")
        key, value = (key.strip(), value.strip()) if mark else ("characteristics", cell)
        if value.lower() in MISSING:
            continue
        column = fields.setdefault(key, [""] * len(cells))
        if not column[i]:
            column[i] = value
        elif column[i] != value:
            column[i] += f"; {value}"


def _table(
    name: str, lines: Iterator[list[str]], n_samples: int
) -> tuple[tuple[str, ...], np.ndarray]:
    identifiers: list[str] = []
    numbers = array("f")
    for cells in lines:
        if cells and cells[0] == _END:
            break
        if len(cells) != n_samples + 1:
            raise DataError(
                f"A row has {len(cells) - 1:,} values for {n_samples:,} samples.",
                where=f"{name}, ID_REF {cells[0] if cells else ''}",
                fix="The file is damaged or cut off: download it again.",
            )
        identifiers.append(cells[0].strip())
        numbers.extend(_number(cell, name, cells[0]) for cell in cells[1:])
    else:
        raise DataError(
            "The series matrix is cut off.",
            where=f"{name}: no line {_END}, {len(identifiers):,} rows read",
            fix="Download the file again and compare its size with the archive's.",
        )
    if not identifiers or not n_samples:
        raise DataError(
            "The series matrix holds no expression values.",
            where=name,
            fix="Sequencing series keep theirs in supplementary files: take the table of counts "
            "and use `xpert data prepare panacea` or `cdsdb` with a sample sheet.",
        )
    values = np.frombuffer(numbers, dtype=np.float32).reshape(len(identifiers), n_samples)
    return tuple(identifiers), values.T


def _number(cell: str, name: str, row: str) -> float:
    text = cell.strip()
    if text.lower() in MISSING:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.inf
    if np.isinf(value):
        raise DataError(
            "An expression value is no number.",
            where=f"{name}, ID_REF {row}: '{text[:40]}'",
            fix="Download the file again; if it is so in the archive, blank the cell.",
        )
    return value
