"""GEO series matrix files: sample fields of the header, values of the table in blocks of probes."""

from __future__ import annotations

import csv
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.cohorts.table import MISSING, MISSING_NUMBER, unique_key
from xpert_core.errors import DataError
from xpert_core.preparation.records import Report, blocks, silent
from xpert_core.preparation.sheets import READ_ERRORS, need_file, unreadable
from xpert_core.preparation.text_matrix import Block, streamed

_BEGIN, _END = "!series_matrix_table_begin", "!series_matrix_table_end"
_SAMPLE, _SERIES = "!Sample_", "!Series_"
_CHARACTERISTICS = "characteristics_ch1"
#: Sample fields that say nothing of the sample itself.
_DULL = ("contact", "supplementary", "data_row", "data_processing", "relation", "taxid", "status")


@dataclass(frozen=True)
class SeriesHeader:
    """What stands above the values of a series matrix.

    Attributes
    ----------
    name : str
        File name.
    series : dict of str
        Fields of the series: ``geo_accession``, ``title``, ``platform_id``...
    samples : DataFrame
        Index: sample accession. Columns: fields of the samples; characteristics under their own
        names.
    """

    name: str
    series: dict[str, str]
    samples: pd.DataFrame


def read_series_header(path: Path) -> SeriesHeader:
    """Read what stands above the values of ``*_series_matrix.txt``, gzipped or not.

    Raises
    ------
    DataError
        When it is missing, damaged or cut off, or samples occur more than once.
    """
    need_file(path, "series matrix")
    with _lines(path, "Header of", silent) as lines:
        return _header(path.name, lines)


@contextmanager
def _lines(path: Path, what: str, report: Report) -> Iterator[Iterator[list[str]]]:
    """Lines of the file as cells; MiB read are reported.

    Raises
    ------
    DataError
        When it is damaged.
    """
    source = streamed(path, what, report)
    try:
        with TextIOWrapper(source.open(), encoding="utf-8", errors="replace", newline="") as text:
            yield csv.reader(text, delimiter="\t")
    except READ_ERRORS as error:
        raise unreadable(path, "series matrix", error) from error


def _header(name: str, lines: Iterator[list[str]]) -> SeriesHeader:
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
            where=f"{name}: no line {_BEGIN}",
            fix="Download GSE..._series_matrix.txt.gz from the series' page.",
        )
    accessions = [c.strip() for c in next(lines, [""])[1:]]
    samples = pd.DataFrame(
        {name: cells for name, cells in fields.items() if len(cells) == len(accessions)},
        index=pd.Index(accessions, name="sample_id"),
    )
    if samples.index.has_duplicates:
        raise DataError(
            "Samples occur more than once in the series matrix.",
            where=f"{name}: {samples.index[samples.index.duplicated()][0]}",
            fix="Download the series matrix again; keep one column a sample where it was edited.",
        )
    return SeriesHeader(name, series, samples)


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


class SeriesTable:
    """The values of a series matrix, of which only a block of probes is in memory.

    Parameters
    ----------
    path : Path
    report : callable

    Attributes
    ----------
    name : str
    samples : tuple of str
    identifiers : tuple of str
        ``ID_REF``.

    Raises
    ------
    DataError
        When the file is damaged or cut off, holds no values, or a row does not fit.
    """

    samples_in = "columns"

    def __init__(self, path: Path, report: Report) -> None:
        self.name = path.name
        self._path, self._report = path, report
        with _lines(path, "Probes of", report) as lines:
            self.samples = tuple(_header(self.name, lines).samples.index)
            self.identifiers = _identifiers(self.name, lines, len(self.samples))

    def blocks(self, start: int, cells: int) -> Iterator[Block]:
        """As `LineMatrix.blocks`.

        Raises
        ------
        DataError
            When a value is no number.
        """
        width, size = len(self.samples), len(self.identifiers)
        with _lines(self._path, "Reading", self._report) as lines:
            _header(self.name, lines)
            for first, last in blocks(size, max(1, cells // width)):
                rows = islice(lines, last - first)
                if last <= start:
                    deque(rows, maxlen=0)
                    continue
                numbers = array("f")
                for row in rows:
                    numbers.extend(_numbers(row[1:], self.name, row[0]))
                values = np.array(numbers, dtype=np.float32).reshape(-1, width)
                values[values == MISSING_NUMBER] = np.nan
                yield Block(values, last)


def _identifiers(name: str, lines: Iterator[list[str]], n_samples: int) -> tuple[str, ...]:
    """``ID_REF`` of the table, whose rows must be whole."""
    identifiers: list[str] = []
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
    return tuple(identifiers)


def _numbers(cells: list[str], name: str, row: str) -> list[float]:
    """Numbers of a row; of almost every row they are all numbers, and finite."""
    try:
        numbers = list(map(float, cells))
        if np.isfinite(numbers).all():
            return numbers
    except ValueError:
        pass
    return [_number(cell, name, row) for cell in cells]


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
