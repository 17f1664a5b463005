"""Delimited text: encoding, delimiter and decimal mark are recognised and reported."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from xpert_core.cohorts.readers import reader
from xpert_core.cohorts.source import MEGABYTE, Source
from xpert_core.cohorts.table import RawTable, Row, assemble
from xpert_core.errors import CohortError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte-order mark"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar", " ": "space"}
_USUAL = {".csv": (",",), ".tsv": ("\t",), ".tab": ("\t",), ".txt": ("\t", ",")}


@dataclass(frozen=True)
class Encoding:
    """How bytes become text: Python codec and the name shown to the user."""

    codec: str
    label: str


def detect_encoding(source: Source) -> Encoding:
    """Recognise UTF-8 (with or without mark), UTF-16 and Latin-1, in one pass over the bytes.

    Raises
    ------
    CohortError
        When the bytes are not text (NUL bytes outside UTF-16).
    """
    with source.open() as stream:
        head = stream.read(4096)
        for mark, codec, label in _BOMS:
            if head.startswith(mark):
                return Encoding(codec, label)
        for zeros, codec in ((head[1::2], "utf-16-le"), (head[0::2], "utf-16-be")):
            if len(head) > 1 and not any(zeros):
                return Encoding(codec, "UTF-16 without a byte-order mark")
        stream.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        is_utf8, offset = True, 0
        while block := stream.read(MEGABYTE):
            if b"\0" in block:
                raise CohortError(
                    "The file is not a text file: it contains NUL bytes.",
                    where=f"{source.name}, byte {offset + block.index(0) + 1:,}",
                    fix="Open it in the program that made it and save it as CSV (UTF-8).",
                )
            if is_utf8:
                try:
                    decoder.decode(block, final=len(block) < MEGABYTE)
                except UnicodeDecodeError:
                    is_utf8 = False
            offset += len(block)
    return Encoding("utf-8", "UTF-8") if is_utf8 else Encoding("cp1252", "Latin-1 (Windows-1252)")


def text_stream(source: Source, encoding: Encoding) -> io.TextIOWrapper:
    """The file as text, decoded as it is read; line ends are left to the parser."""
    # Windows-1252 leaves five bytes undefined; they can only be in labels.
    errors = "replace" if encoding.codec == "cp1252" else "strict"
    return io.TextIOWrapper(source.open(), encoding=encoding.codec, errors=errors, newline="")


def detect_delimiter(lines: list[str]) -> str:
    """The delimiter that splits the header and the next lines most often; "" when none does."""
    lines = [re.sub(r'"[^"]*"', "", line) for line in lines if line.strip()]
    for candidates in (",;\t|", " "):
        counts = {
            d: min((line.strip("\r\n").count(d) for line in lines), default=0) for d in candidates
        }
        best = max(counts, key=lambda d: counts[d])
        if counts[best]:
            return best
    return ""


def rows(source: Source, encoding: Encoding, delimiter: str, *, skip: int = 0) -> Iterator[Row]:
    """Rows of cells with their number in the file, after the first `skip` lines.

    Raises
    ------
    CohortError
        Where the text cannot be decoded or a quoted field never ends.
    """
    number = skip
    with text_stream(source, encoding) as stream:
        for _ in range(skip):
            stream.readline()
        parser = csv.reader(stream, delimiter=delimiter, skipinitialspace=delimiter == " ")
        try:
            for cells in parser:
                number += 1
                yield number, cells
        except (csv.Error, UnicodeError) as error:
            raise CohortError(
                "The text cannot be split into cells.",
                where=f"{source.name}, near row {number + 1} ({error})",
                fix="Look for a quotation mark that is never closed, or save the file again as "
                "CSV (UTF-8).",
            ) from error


#: Extensions of delimited text.
SUFFIXES = (".csv", ".tsv", ".txt", ".tab")


@reader(*SUFFIXES, content="text")
def read_delimited(source: Source) -> RawTable:
    """Read CSV, TSV or other delimited text."""
    form = text_form(source)
    if form.is_gct:
        from xpert_core.cohorts.gct import read_gct

        return read_gct(source)
    table = assemble(form.rows(source), name=source.name, delimiter=form.delimiter)
    table.notes[:0] = _notes(source, form.encoding, form.delimiter)
    return table


@dataclass(frozen=True)
class TextForm:
    """How a text file is split into rows of cells.

    Attributes
    ----------
    encoding : Encoding
    delimiter : str
    skip : int
        Lines above the header.
    is_gct : bool
        Whether it is a GCT file, whatever its name; it has a reader of its own.
    """

    encoding: Encoding
    delimiter: str
    skip: int
    is_gct: bool

    def rows(self, source: Source) -> Iterator[Row]:
        """Rows of cells of the file from its header on."""
        return rows(source, self.encoding, self.delimiter, skip=self.skip)


def text_form(source: Source) -> TextForm:
    """Recognise encoding and delimiter.

    Raises
    ------
    CohortError
        When the bytes are not text, or nothing separates cells.
    """
    encoding = detect_encoding(source)
    lines, skip, named = _first_lines(source, encoding)
    if lines and re.match(r"#1\.[23]\s*$", lines[0]):
        return TextForm(encoding, "\t", skip, True)
    delimiter = named or detect_delimiter(lines)
    if not delimiter:
        raise CohortError(
            "Only one column was found: no comma, semicolon or tab separates the cells.",
            where=source.name,
            fix="Save the table as CSV with commas between the cells.",
        )
    return TextForm(encoding, delimiter, skip, False)


def _first_lines(source: Source, encoding: Encoding) -> tuple[list[str], int, str]:
    """The header and the lines after it, the number of lines above it, a declared delimiter."""
    skip, named = 0, ""
    lines: list[str] = []
    with text_stream(source, encoding) as stream:
        try:
            for line in stream:
                declared = re.match(r"sep=(.)\s*$", line)
                if not lines and (declared or re.match(r"#(#| )", line)):
                    skip, named = skip + 1, declared.group(1) if declared else named
                elif line.strip():
                    lines.append(line)
                if len(lines) == 3:
                    break
        except UnicodeError as error:
            raise CohortError(
                f"The text is not valid {encoding.label}.",
                where=f"{source.name} ({error})",
                fix="Save the file again as CSV (UTF-8).",
            ) from error
    return lines, skip, named


def _notes(source: Source, encoding: Encoding, delimiter: str) -> list[str]:
    notes = []
    if encoding.label != "UTF-8":
        notes.append(f"The text is encoded as {encoding.label}.")
    if delimiter not in _USUAL.get(source.suffix, ()):
        notes.append(f"Cells are separated by a {_DELIMITERS.get(delimiter, delimiter)}.")
    if PurePosixPath(source.name).suffix.lower() == ".gz":
        notes.append("The file was compressed with gzip.")
    return notes
