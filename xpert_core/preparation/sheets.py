"""Sample sheets: a table of text with the columns a source needs, whatever they are called."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from xpert_core.cohorts.metadata import spelling
from xpert_core.cohorts.table import MISSING
from xpert_core.errors import DataError
from xpert_core.preparation.records import names_of

#: Names of what holds no drug, as sheets write them (letters and digits, lower case).
VEHICLES = frozenset(
    ("dmso", "vehicle", "control", "ctl", "ctlvehicle", "ctluntrt", "untreated", "none", "mock")
)


def is_vehicle(name: str) -> bool:
    """Whether a drug's name stands for no drug: DMSO, vehicle, untreated..."""
    return spelling(name) in VEHICLES


def need_file(path: Path, what: str) -> Path:
    """`path`, which must be a file that is not empty.

    Raises
    ------
    DataError
        When it is not there, or empty.
    """
    if not Path(path).is_file():
        raise DataError(
            f"The {what} was not found.", where=str(path), fix="Check the path and its spelling."
        )
    if Path(path).stat().st_size == 0:
        raise DataError(f"The {what} is empty.", where=str(path), fix="Download it again.")
    return Path(path)


def unreadable(path: Path, what: str, error: BaseException) -> DataError:
    """The error for a file that a library cannot read."""
    return DataError(
        f"The {what} cannot be read: it is damaged, cut off, or of another kind.",
        where=f"{path.name} ({type(error).__name__}: {str(error)[:160]})",
        fix="Download the file again and compare its size or checksum with the archive's.",
    )


READ_ERRORS = (OSError, EOFError, ValueError, zlib.error, csv.Error, UnicodeError)
"""What text and gzip readers raise on damaged files."""


def delimiter_of(path: Path) -> str:
    """Tab, comma or semicolon: what the header holds most of."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", errors="replace") as stream:
            head = stream.readline()
    except READ_ERRORS as error:
        raise unreadable(path, "table", error) from error
    return max("\t,;", key=head.count)


def read_sheet(
    path: Path,
    what: str,
    needed: Mapping[str, Sequence[str]],
    optional: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """Read a table of text.

    Parameters
    ----------
    path : Path
        CSV or TSV, gzipped or not.
    what : str
        What the table is, for messages.
    needed, optional : dict
        Name of a column here to the names it may have in the file; letter case, spaces and
        punctuation do not matter.

    Returns
    -------
    DataFrame
        Columns under the names here, as text, "" where missing; optional columns that are not
        there are "". Other columns keep their own names.

    Raises
    ------
    DataError
        When it cannot be read, has no row, or lacks a column.
    """
    need_file(path, what)
    try:
        table = pd.read_csv(
            path, sep=delimiter_of(path), dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except READ_ERRORS as error:
        raise unreadable(path, what, error) from error
    table.columns = [str(c).strip() for c in table.columns]
    found = find_columns(list(table.columns), {**needed, **optional})
    refuse_missing(found, needed, list(table.columns), f"{what}, {path.name}")
    if table.empty:
        raise DataError(
            f"The {what} has a header but no row.",
            where=path.name,
            fix="Add a line for each entry (docs/data-preparation.md tells the columns).",
        )
    table = table.rename(columns={old: new for new, old in found.items()})
    for name in optional:
        if name not in table:
            table[name] = ""
    for name in table.columns:
        cells = table[name].str.strip()
        table[name] = cells.where(~cells.str.lower().isin(MISSING), "")
    return table


def find_columns(columns: Sequence[str], wanted: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Name here to the column of the file that has one of its spellings."""
    by_spelling: dict[str, str] = {}
    for column in columns:
        by_spelling.setdefault(spelling(column), column)
    found = {}
    for name, spellings in wanted.items():
        for candidate in (name, *spellings):
            if spelling(candidate) in by_spelling:
                found[name] = by_spelling[spelling(candidate)]
                break
    return found


def refuse_missing(
    found: dict[str, str], needed: Mapping[str, Sequence[str]], columns: Sequence[str], where: str
) -> None:
    """Refuse a table that lacks a needed column.

    Raises
    ------
    DataError
        Naming what is missing and what is there.
    """
    missing = [name for name in needed if name not in found]
    if missing:
        raise DataError(
            f"The table has no column {' and no column '.join(missing)}.",
            where=f"{where}; its columns are: {', '.join(columns)[:300]}",
            fix="Name the columns as in docs/data-preparation.md.",
        )


def refuse_repeats(values: pd.Series, what: str, where: str) -> None:
    """Refuse identifiers that occur more than once.

    Raises
    ------
    DataError
        With the count and the first ones.
    """
    repeated = values[values.duplicated()].unique()
    if len(repeated):
        raise DataError(
            f"{len(repeated):,} {what} occur more than once.",
            where=f"{where}: {names_of(repeated)}",
            fix="Keep one row for each: with two, nothing says which values belong to it.",
        )
