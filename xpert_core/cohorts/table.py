"""From rows of cells to a table of numbers with labelled axes, with every bad cell located."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np

from xpert_core.cohorts.metadata import LABEL_NAMES, is_metadata, spelling
from xpert_core.errors import CohortError

#: Cells that mean "not measured" (-666 is the convention of CMap files).
MISSING = frozenset(
    ("", "na", "n/a", "#n/a", "nan", ".", "-", "-666", "-666.0", "null", "none", "missing")
)
MISSING_NUMBER = np.float32(-666)

#: Key of the labels an axis carries itself: the header line, or a first column without a name.
LABEL = ""

#: A row of the file with its number, counted from 1 as in a spreadsheet.
Row = tuple[int, list[str]]

_PREVIEW_CELLS = 20_000
_BAD_CELLS_KEPT = 200_000
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+")
_INVISIBLE = re.compile("[\ufeff\u200b-\u200f\u202a-\u202e\u2066-\u2069\x00-\x08\x0e-\x1f]")


@dataclass
class RawTable:
    """A file as numbers plus labels, before it is known which axis holds the genes.

    Attributes
    ----------
    values : ndarray of float32, shape (n_rows, n_columns)
        NaN where blank, missing or not a number.
    row_fields, column_fields : dict of list of str
        Labels of each axis by field name, "" where missing; `LABEL` is the axis' own label.
    row_numbers, column_numbers : list of int
        Row and column of the file behind each row and column of `values`.
    text_cells : dict
        (row, column) of `values` to the text that stands where a number was expected.
    genes_in : {"rows", "columns"} or None
        Where the format itself says the genes are.
    notes : list of str
        What the reader did.
    """

    values: np.ndarray
    row_fields: dict[str, list[str]]
    column_fields: dict[str, list[str]]
    row_numbers: list[int]
    column_numbers: list[int]
    text_cells: dict[tuple[int, int], str] = field(default_factory=dict)
    genes_in: str | None = None
    notes: list[str] = field(default_factory=list)


def clean(text: str) -> str:
    """A label without surrounding blanks and without invisible or direction-changing marks."""
    return (
        text.strip() if text.isascii() and text.isprintable() else _INVISIBLE.sub("", text).strip()
    )


def shown(value: object, limit: int = 40) -> str:
    """A value of the file as it may stand in a message: printable and short."""
    text = clean(str(value))
    return f"'{text}'" if len(text) <= limit else f"'{text[:limit]}…'"


def unique_key(fields: dict[str, list[str]], name: str) -> str:
    """`name`, or `name_2`, `name_3`... when a field of that name exists."""
    key, number = name, 2
    while key in fields:
        key, number = f"{name}_{number}", number + 1
    return key


def assemble(
    rows: Iterable[Row],
    *,
    name: str,
    delimiter: str = "",
    n_fields: int | None = None,
    n_metadata_rows: int = 0,
) -> RawTable:
    """Turn rows of text cells into a `RawTable`, one row in memory at a time.

    Parameters
    ----------
    rows : iterable of (row number, cells)
        The first row that is not blank is the header.
    name : str
        File name, for messages.
    delimiter : str
        Delimiter of the file; decides how a comma inside a number is understood.
    n_fields : int, optional
        Number of leading label columns where the format states it; else they are recognised.
    n_metadata_rows : int
        Number of rows below the header that describe columns, where the format states it.

    Raises
    ------
    CohortError
        No header or no row below it, rows of unequal length, infinite numbers.
    """
    body, stream = open_body(
        rows, name=name, delimiter=delimiter, n_fields=n_fields, n_metadata_rows=n_metadata_rows
    )
    for number, cells in stream:
        body.add(number, cells)
    return body.finish()


def open_body(
    rows: Iterable[Row],
    *,
    name: str,
    delimiter: str = "",
    n_fields: int | None = None,
    n_metadata_rows: int = 0,
) -> tuple[Body, Iterator[Row]]:
    """Read the header; returns what takes the rows below it, and these rows.

    Parameters and errors are those of `assemble`.
    """
    stream = (row for row in rows if any(row[1]))
    header, preview = _header_and_preview(stream, name)
    columns = _split_columns(header, preview, n_fields)
    if not columns.values:
        raise CohortError(
            "No column with numbers was found.",
            where=f"{name}; columns: {', '.join(shown(h, 20) for h in header[:5])}",
            fix="The file needs one column per gene (or per sample) with expression values.",
        )
    comma = _decimal_comma((row for _, row in preview), columns.values, delimiter)
    return Body(header, columns, comma, n_metadata_rows, name), chain(preview, stream)


def _header_and_preview(stream: Iterator[Row], name: str) -> tuple[list[str], list[Row]]:
    first = next(stream, None)
    if first is None:
        raise CohortError(
            "The file has no content besides blank lines.",
            where=name,
            fix="Export the expression table again.",
        )
    header = [clean(cell) for cell in first[1]]
    preview = list(islice(stream, max(5, min(100, _PREVIEW_CELLS // max(len(header), 1)))))
    if not preview:
        raise CohortError(
            "The file has a header line but no row below it.",
            where=f"{name}, row {first[0]}",
            fix="Add at least one sample, or export the table again.",
        )
    while header and not header[-1] and all(not any(row[len(header) - 1 :]) for _, row in preview):
        header.pop()
    # R writes a table with row names under a header that is one cell shorter.
    if all(len(row) == len(header) + 1 for _, row in preview) and any(r[-1] for _, r in preview):
        header.insert(0, LABEL)
    return header, preview


@dataclass(frozen=True)
class _Columns:
    fields: list[int]
    values: list[int]


def _split_columns(header: list[str], preview: list[Row], n_fields: int | None) -> _Columns:
    """Tell columns of labels from columns of numbers by their names and first rows."""
    everything = range(len(header))
    if n_fields is not None:
        return _Columns(list(everything[:n_fields]), list(everything[n_fields:]))
    fields = []
    for column in everything:
        cells = [row[column].strip() for _, row in preview if column < len(row)]
        present = [cell for cell in cells if cell.lower() not in MISSING]
        n_text = sum(not looks_numeric(cell) for cell in present)
        named = is_metadata(header[column]) or spelling(header[column]) in LABEL_NAMES
        if n_text * 2 > len(present) or (named and (column == 0 or header[column])):
            fields.append(column)
    if not fields and _is_numbering([row[0] for _, row in preview if row]):
        fields = [0]
    chosen = set(fields)
    return _Columns(fields, [c for c in everything if c not in chosen])


def _is_numbering(cells: list[str]) -> bool:
    whole = [int(cell) for cell in cells if cell.strip().isdigit()]
    return len(whole) == len(cells) > 1 and len(set(whole)) == len(whole)


def looks_numeric(cell: str) -> bool:
    """Whether a cell is a number, with a decimal point or a decimal comma."""
    if _DECIMAL_COMMA.fullmatch(cell) or _THOUSANDS.fullmatch(cell):
        return True
    return _number(cell) is not None


def _number(cell: str) -> float | None:
    if "_" in cell:
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _decimal_comma(rows: Iterable[list[str]], columns: Sequence[int], delimiter: str) -> bool:
    """Whether numbers are written with a decimal comma.

    In a comma-delimited file ``"1,234"`` is more likely a thousands separator: such a file is
    taken for decimal comma only when some number cannot be grouped in threes.
    """
    found = [
        cell.strip()
        for row in rows
        for cell in (row[c] for c in columns if c < len(row))
        if "," in cell and _DECIMAL_COMMA.fullmatch(cell.strip())
    ]
    if delimiter == ",":
        found = [cell for cell in found if not _THOUSANDS.fullmatch(cell)]
    return bool(found)


class Body:
    """Takes the rows below the header: their labels, and their numbers or the text among them.

    Attributes
    ----------
    row_numbers : list of int
        Row of the file behind each row of values so far.
    text_cells : dict
        As in `RawTable`.
    column_fields : dict of list of str
        As in `RawTable`.
    """

    def __init__(
        self, header: list[str], columns: _Columns, comma: bool, n_metadata_rows: int, name: str
    ) -> None:
        self.header = header
        self.columns = columns
        self.comma = comma
        self.pending_metadata = n_metadata_rows
        self.name = name
        self.numbers = array("f")
        self.fields: list[list[str]] = [[] for _ in columns.fields]
        self.row_numbers: list[int] = []
        self.text_cells: dict[tuple[int, int], str] = {}
        self.column_fields: dict[str, list[str]] = {LABEL: [header[c] for c in columns.values]}
        first, last = columns.values[0], columns.values[-1] + 1
        self.span = slice(first, last) if last - first == len(columns.values) else None

    def add(self, number: int, cells: list[str]) -> None:
        """Take one row of the file, and keep its numbers."""
        chosen = self.labels(number, cells)
        if chosen is not None:
            self.numbers.extend(self.parse(chosen))

    def labels(self, number: int, cells: list[str]) -> list[str] | None:
        """Take the labels of one row; returns its cells of values, None where it describes columns.

        Raises
        ------
        CohortError
            When the row has more or fewer cells than the header.
        """
        if len(cells) != len(self.header):
            cells = self._fit(number, cells)
        chosen = cells[self.span] if self.span else [cells[c] for c in self.columns.values]
        labels = [clean(cells[c]) for c in self.columns.fields]
        if self._describes_columns(labels):
            key = unique_key(self.column_fields, labels[0])
            self.column_fields[key] = [
                "" if c.strip().lower() in MISSING else clean(c) for c in chosen
            ]
            return None
        for column, label in zip(self.fields, labels, strict=True):
            column.append("" if label.lower() in MISSING else label)
        self.row_numbers.append(number)
        return chosen

    def parse(self, chosen: list[str]) -> list[float]:
        """Numbers of the row whose labels were taken last, NaN for blanks and text."""
        try:
            if self.comma or "_" in ",".join(chosen):
                raise ValueError
            return list(map(float, chosen))
        except ValueError:
            return self._careful(chosen)

    def number(self, cell: str) -> float | None:
        """A cell as a number, NaN where it says that nothing was measured; None for other text."""
        text = cell.strip()
        value = self._parse(text)
        if value is None:
            return math.nan if text.lower() in MISSING else None
        return math.nan if np.float32(value) == MISSING_NUMBER else value

    def _describes_columns(self, labels: list[str]) -> bool:
        """Whether the row is metadata of the columns (genes in rows), not expression."""
        if self.pending_metadata:
            self.pending_metadata -= 1
            return True
        return bool(labels) and is_metadata(labels[0])

    def _fit(self, number: int, cells: list[str]) -> list[str]:
        width = len(self.header)
        if len(cells) > width and not any(cells[width:]):
            return cells[:width]
        raise CohortError(
            f"Row {number} has {len(cells):,} cells, but the header has {width:,}.",
            where=f"{self.name}, row {number}, which begins with {shown(cells[0])}",
            fix="Check that the file is complete, that every row has the same number of cells, and "
            "that text containing the delimiter is quoted.",
        )

    def _careful(self, cells: list[str]) -> list[float]:
        """Numbers of a row that holds blanks, decimal commas or text."""
        numbers = []
        row = len(self.row_numbers) - 1
        for column, cell in enumerate(cells):
            text = cell.strip()
            value = self._parse(text)
            if value is None:
                value = math.nan
                if text.lower() not in MISSING:
                    self.text_cells[row, column] = text
            numbers.append(value)
        if len(self.text_cells) > _BAD_CELLS_KEPT:
            raise text_error(self.name, self._locate(), len(self.text_cells), more=True)
        return numbers

    def _parse(self, text: str) -> float | None:
        if self.comma:
            if "." in text and text != ".":
                return None
            text = text.replace(",", ".")
        return _number(text)

    def _locate(self) -> list[tuple[str, str, str]]:
        """Row, column and value of the first text cells."""
        found = []
        for (row, column), text in islice(self.text_cells.items(), 5):
            found.append(
                (f"row {self.row_numbers[row]}", self.header[self.columns.values[column]], text)
            )
        return found

    def finish(self) -> RawTable:
        """The table, once every row was taken by `add`."""
        table = self.skeleton()
        shape = (len(self.row_numbers), len(self.columns.values))
        table.values = np.frombuffer(self.numbers, dtype=np.float32).reshape(shape)
        blank_missing(table, self.name)
        return table

    def skeleton(self) -> RawTable:
        """The labels of the rows taken, in a table whose values are left out (shape (0, 0)).

        Raises
        ------
        CohortError
            When no row was taken.
        """
        if not self.row_numbers:
            raise CohortError(
                "The file has no row with expression values.",
                where=self.name,
                fix="Add at least one sample or gene below the header.",
            )
        row_fields: dict[str, list[str]] = {}
        for column, cells in zip(self.columns.fields, self.fields, strict=True):
            row_fields[unique_key(row_fields, self.header[column])] = cells
        return RawTable(
            np.empty((0, 0), dtype=np.float32),
            row_fields,
            self.column_fields,
            self.row_numbers,
            [c + 1 for c in self.columns.values],
            self.text_cells,
            notes=["Numbers are written with a decimal comma."] if self.comma else [],
        )


def blank_missing(table: RawTable, name: str) -> None:
    """Turn -666 into NaN in place and refuse infinite numbers.

    Raises
    ------
    CohortError
        Naming the first infinite cell.
    """
    infinite, first = 0, None
    for row, values in enumerate(table.values):  # row by row, to hold no second matrix
        values[values == MISSING_NUMBER] = np.nan
        columns = np.flatnonzero(np.isinf(values))
        infinite += columns.size
        if columns.size and first is None:
            first = row, int(columns[0])
    if first:
        label = next(iter(table.column_fields.values()))[first[1]]
        raise infinite_error(name, table.row_numbers[first[0]], label, infinite)


def infinite_error(name: str, row: int, column: str, count: int) -> CohortError:
    """The error for infinite numbers; `row` and `column` are those of the first one."""
    return CohortError(
        f"{count:,} {'cell is' if count == 1 else 'cells are'} infinite or too large for a number.",
        where=f"{name}, row {row}, column {shown(column)}",
        fix="Infinite values usually come from the logarithm of zero: use log2(x + 1), or "
        "leave the cell blank.",
    )


def text_error(
    name: str, cells: Sequence[tuple[str, str, str]], count: int, *, more: bool = False
) -> CohortError:
    """The error for text where numbers are expected; `cells` are (row, column, value)."""
    listed = "; ".join(f"{r}, column {shown(c)}: {shown(v)}" for r, c, v in cells)
    noun = "cell holds" if count == 1 else "cells hold"
    return CohortError(
        f"{'More than ' if more else ''}{count:,} expression {noun} text instead of a number.",
        where=f"{name}: {listed}",
        fix="Correct these cells, or leave them blank if the gene was not measured.",
    )
