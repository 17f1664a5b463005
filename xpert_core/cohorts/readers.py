"""The registry of file formats: one function per format, chosen by the file's extension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from xpert_core.cohorts.source import Source, gunzip
from xpert_core.cohorts.table import RawTable
from xpert_core.errors import CohortError

Reader = Callable[[Source], RawTable]

#: Modules that register readers when they are imported.
_MODULES = ("text", "gct", "sheets", "hdf")


@dataclass(frozen=True)
class _Format:
    read: Reader
    content: str


_FORMATS: dict[str, _Format] = {}


def reader(*suffixes: str, content: str) -> Callable[[Reader], Reader]:
    """Register a function as the reader of files with these extensions.

    Parameters
    ----------
    suffixes : str
        Extensions with the dot, lower case.
    content : str
        What the bytes must be (as `source.sniff` names it), so that a renamed file is refused.
    """

    def register(function: Reader) -> Reader:
        for suffix in suffixes:
            _FORMATS[suffix] = _Format(function, content)
        return function

    return register


def suffixes() -> tuple[str, ...]:
    """Every extension that can be read."""
    for module in _MODULES:
        import_module(f"xpert_core.cohorts.{module}")
    return tuple(_FORMATS)


def read_table(source: Source) -> RawTable:
    """Read any supported file into a table of numbers with labels on both axes.

    Raises
    ------
    CohortError
        For an unknown extension, for content that is not what the extension says, and for
        everything the format's own reader refuses.
    """
    known = suffixes()
    if source.suffix not in known:
        raise CohortError(
            f"Files of type '{source.suffix or 'without extension'}' cannot be read.",
            where=source.name,
            fix=f"Save the table as one of: {', '.join(known)}.",
        )
    chosen = _FORMATS[source.suffix]
    kind = source.kind()
    if kind == "gzip" and chosen.content == "text":
        source = gunzip(source)
        kind = source.kind()
    if kind != chosen.content:
        raise CohortError(
            f"The file is named '{source.suffix}', but its content is {_describe(kind)}.",
            where=source.name,
            fix=_RENAME_HINTS.get(
                kind, f"Open it in the program that made it and save it as {source.suffix}."
            ),
        )
    return chosen.read(source)


def _describe(kind: str) -> str:
    if kind == "text":
        return "plain text"
    if kind == "pickle":
        return "a Python pickle, which can run code and is never opened"
    return f"{kind} data"


_RENAME_HINTS = {
    "pickle": "Load it where it was made and save the table as CSV, Parquet or h5ad.",
    "HDF5": "If it is an AnnData file rename it to .h5ad, if it is a CMap file to .gctx.",
    "zip": "If it is an Excel workbook rename it to .xlsx; otherwise unzip it first.",
    "Parquet": "Rename it to .parquet.",
    "old or password-protected Excel": "Open it in Excel and save it as .xlsx without a password.",
    "text": "Rename it to .csv, .tsv or .gct.",
}
