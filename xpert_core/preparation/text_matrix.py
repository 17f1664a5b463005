"""Delimited text matrices read in blocks of rows: labels first, values in a second pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from xpert_core.cohorts import Cohort, read_cohort
from xpert_core.cohorts.layout import arrange
from xpert_core.cohorts.source import StreamedText, refuse_empty, sniff, unpacking
from xpert_core.cohorts.table import (
    MISSING_NUMBER,
    Body,
    Row,
    infinite_error,
    open_body,
    text_error,
)
from xpert_core.cohorts.text import SUFFIXES, TextForm, text_form
from xpert_core.genes import load_panel
from xpert_core.preparation.records import Report, blocks
from xpert_core.preparation.sheets import need_file

LIMIT_MB = 8000.0
"""Largest matrix that is read as a whole: of formats other than delimited text."""


@dataclass(frozen=True)
class Block:
    """Consecutive lines of a matrix, genes or samples.

    Attributes
    ----------
    values : ndarray of float32, shape (lines, width)
        NaN where missing.
    end : int
        Row of the table after the block, where reading can go on.
    sound : bool
        Whether every cell so far is a number: of a matrix that will be refused, nothing is kept.
    """

    values: np.ndarray
    end: int
    sound: bool = True


class LineMatrix(Protocol):
    """A matrix that is read line by line."""

    @property
    def name(self) -> str:
        """File name."""

    @property
    def samples(self) -> tuple[str, ...]:
        """Sample names."""

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Gene identifiers, as in the file."""

    @property
    def samples_in(self) -> str:
        """``"rows"`` where a line is a sample, ``"columns"`` where it is a gene."""

    def blocks(self, start: int, cells: int) -> Iterator[Block]:
        """Lines from row `start` of the table on, at most about `cells` cells at a time."""


def open_matrix(path: Path, report: Report) -> LineMatrix:
    """An expression matrix of any supported format.

    Delimited text is read in blocks; other formats are read as a whole.

    Raises
    ------
    DataError, CohortError
        When it is missing, damaged, names no gene, or is too large to be read as a whole.
    """
    need_file(path, "expression matrix")
    source = streamed(path, "Looking at", report)
    if source.suffix in SUFFIXES and _begins_as_text(source):
        with unpacking(source):
            form = text_form(source)
        if not form.is_gct:
            return TextMatrix(path, form, report)
    return WholeMatrix(read_cohort(path, limit_mb=LIMIT_MB), report)


def _begins_as_text(source: StreamedText) -> bool:
    with unpacking(source), source.open() as stream:
        head = stream.read(512)
    if source.packed():
        refuse_empty(source, head)
    return sniff(head) == "text"


def streamed(path: Path, what: str, report: Report) -> StreamedText:
    """A text file of which every pass reports the MiB read; `what` the pass does."""
    size = path.stat().st_size
    label = f"{what} {path.name} (MiB)"
    return StreamedText(
        path.name, path, size, told=lambda done: report(label, done >> 20, size >> 20)
    )


class WholeMatrix:
    """A matrix in memory, given in blocks of samples."""

    samples_in = "rows"

    def __init__(self, cohort: Cohort, report: Report) -> None:
        self._cohort, self._report = cohort, report
        self.name, self.identifiers = cohort.name, cohort.identifiers
        self.samples = tuple(map(str, cohort.samples.index))

    def blocks(self, start: int, cells: int) -> Iterator[Block]:
        """As `LineMatrix.blocks`."""
        values, label = self._cohort.expression, f"Reading {self.name} (samples)"
        for first, last in blocks(len(values), max(1, cells // values.shape[1])):
            if first >= start:
                yield Block(values[first:last], last)
                self._report(label, last, len(values))


class _TextLines:
    """Finds the rows and columns that hold nothing but text, while the labels are read."""

    def __init__(self, body: Body, width: int) -> None:
        self._body = body
        self._open = list(range(width))  # columns without a number so far
        self._rows: list[int] = []
        self._cells: dict[tuple[int, int], str] = {}

    def look(self, row: int, cells: list[str]) -> None:
        """Look at a row; of almost every row one cell is enough."""
        number = self._body.number
        is_text = not any(_measured(number(cell)) for cell in cells)
        if is_text:
            self._keep(row, range(len(cells)), cells)
            if any((row, column) in self._cells for column in range(len(cells))):
                self._rows.append(row)
        if self._open:
            self._open = [c for c in self._open if not _measured(number(cells[c]))]
            self._keep(row, self._open, cells)

    def _keep(self, row: int, columns: Sequence[int], cells: list[str]) -> None:
        for column in columns:
            if self._body.number(cells[column]) is None:
                self._cells[row, column] = cells[column].strip()

    def found(self, *, rows_have_labels: bool) -> tuple[list[int], list[int]]:
        """Rows and columns of text; their cells become the text cells of the body."""
        rows = self._rows if rows_have_labels else []
        with_text, left = {column for _, column in self._cells}, set(self._open)
        columns = sorted(left & with_text)
        kept = (set(rows), set(columns))
        self._body.text_cells.update(
            {at: text for at, text in self._cells.items() if at[0] in kept[0] or at[1] in kept[1]}
        )
        return rows, columns


def _measured(value: float | None) -> bool:
    return value is not None and value == value


class TextMatrix:
    """Delimited text, of which only a block of rows is in memory.

    Parameters
    ----------
    path : Path
    form : TextForm
    report : callable

    Raises
    ------
    CohortError
        For everything that can be told from the labels.
    """

    def __init__(self, path: Path, form: TextForm, report: Report) -> None:
        self.name = path.name
        self._form = form
        self._passes = [streamed(path, what, report) for what in ("Labels of", "Reading")]
        source = self._passes[0]
        with unpacking(source):
            body, stream = self._open(source)
            text = _TextLines(body, len(body.columns.values))
            for number, cells in stream:
                chosen = body.labels(number, cells)
                if chosen is not None:
                    text.look(len(body.row_numbers) - 1, chosen)
        table = body.skeleton()
        rows, columns = text.found(rows_have_labels=bool(table.row_fields))
        self._text = (set(rows), set(columns))
        plan = arrange(table, (rows, columns), load_panel(), "auto", self.name)
        self.samples_in, self.identifiers = plan.samples_in, plan.identifiers
        self.samples = tuple(map(str, plan.samples.frame.index))
        lines, cells_of = (np.array(i, dtype=np.int64) for i in (plan.rows, plan.columns))
        if self.samples_in == "columns":
            lines = lines[plan.named]
        else:
            cells_of = cells_of[plan.named]
        self._columns = cells_of
        self._is_line = np.zeros(len(body.row_numbers), dtype=bool)
        self._is_line[lines] = True

    def _open(self, source: StreamedText) -> tuple[Body, Iterator[Row]]:
        rows = self._form.rows(source)
        return open_body(rows, name=self.name, delimiter=self._form.delimiter)

    def blocks(self, start: int, cells: int) -> Iterator[Block]:
        """As `LineMatrix.blocks`.

        Raises
        ------
        CohortError
            At the end, when cells hold text or infinite numbers: the first ones are named.
        """
        source = self._passes[1]
        with unpacking(source):
            body, stream = self._open(source)
            most, row, bad, rows = max(1, cells // len(body.columns.values)), -1, _Bad(body), []
            for number, cells_of_row in stream:
                chosen = body.labels(number, cells_of_row)
                row += chosen is not None
                if chosen is None or row < start or row in self._text[0]:
                    continue
                body.numbers.extend(body.parse(chosen))
                rows.append(row)
                if len(rows) == most:
                    yield self._block(body, rows, bad)
                    rows = []
            if rows:
                yield self._block(body, rows, bad)
        bad.refuse()

    def _block(self, body: Body, rows: list[int], bad: _Bad) -> Block:
        """The values that were parsed last, which the body lets go of."""
        values = np.array(body.numbers, dtype=np.float32).reshape(len(rows), -1)
        del body.numbers[:]
        values[values == MISSING_NUMBER] = np.nan
        bad.look(values, rows, self._text[1])
        lines = values[self._is_line[rows]]
        if len(self._columns) < values.shape[1]:
            lines = lines[:, self._columns]
        return Block(lines, rows[-1] + 1, not bad)


class _Bad:
    """Cells that are no numbers; where there is one, the matrix is refused at the end."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._infinite = 0
        self._first_infinite = (0, 0)

    def look(self, values: np.ndarray, rows: list[int], text_columns: set[int]) -> None:
        """Look at a block; text in columns of text is none."""
        if text_columns:
            kept = {at: t for at, t in self._body.text_cells.items() if at[1] not in text_columns}
            self._body.text_cells = kept
        infinite = np.isinf(values)
        if infinite.any():
            if not self._infinite:
                line, column = np.unravel_index(infinite.argmax(), infinite.shape)
                self._first_infinite = (rows[int(line)], int(column))
            self._infinite += int(infinite.sum())

    def __bool__(self) -> bool:
        return bool(self._infinite or self._body.text_cells)

    def refuse(self) -> None:
        """Raise where there is one.

        Raises
        ------
        CohortError
            Naming the first cells.
        """
        body, columns = self._body, next(iter(self._body.column_fields.values()))
        if self._infinite:
            row, column = self._first_infinite
            raise infinite_error(body.name, body.row_numbers[row], columns[column], self._infinite)
        if body.text_cells:
            first = [
                (f"row {body.row_numbers[row]}", columns[column], text)
                for (row, column), text in islice(body.text_cells.items(), 5)
            ]
            raise text_error(body.name, first, len(body.text_cells))
