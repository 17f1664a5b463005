"""An uploaded file before it is parsed: its name, its size, what its bytes really are."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from xpert_core.errors import CohortError
from xpert_core.files import sha256_bytes, sha256_file

MEGABYTE = 1 << 20

#: A file may unpack to this many times the upload limit (a 500 MB Parquet file is 2 GB of numbers).
UNPACKED_FACTOR = 4

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"PAR1", "Parquet"),
    (b"\xd0\xcf\x11\xe0", "old or password-protected Excel"),
    (b"%PDF", "PDF"),
    (b"\x93NUMPY", "NumPy"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_TEXT_PICKLE = re.compile(rb"\(?[dl]p\d+\r?\n|\((?:dp|lp)\d+\r?\n|c[\w.]+\r?\n\w+\r?\n")
_DEFAULT_NAMES = {
    "text": "upload.csv",
    "zip": "upload.xlsx",
    "Parquet": "upload.parquet",
    "HDF5": "upload.h5ad",
}


@dataclass(frozen=True)
class Source:
    """Bytes of one upload, in memory or on disk, with the limit they must respect.

    Attributes
    ----------
    name : str
        File name without folder.
    content : Path or bytes
    limit_bytes : int
        Largest accepted upload.
    """

    name: str
    content: Path | bytes
    limit_bytes: int

    @property
    def suffix(self) -> str:
        """Last extension, lower case; the one before ``.gz`` for a compressed file."""
        suffixes = [s.lower() for s in PurePosixPath(self.name).suffixes]
        if suffixes and suffixes[-1] == ".gz":
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @property
    def unpacked_limit(self) -> int:
        """Largest accepted size in bytes of what the file unpacks to."""
        return UNPACKED_FACTOR * self.limit_bytes

    def open(self) -> BinaryIO:
        """A fresh binary stream; bytes are shared, not copied."""
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        return self.content.open("rb")

    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the bytes as uploaded."""
        if isinstance(self.content, bytes):
            return sha256_bytes(self.content)
        return sha256_file(self.content)

    def kind(self) -> str:
        """What the first bytes say the file is: "text" unless a known signature is found."""
        with self.open() as stream:
            return sniff(stream.read(512))


def sniff(head: bytes) -> str:
    """Name the format that the first bytes of a file announce; "text" when none does."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if len(head) > 1 and head[0] == 0x80 and head[1] <= 5:
        return "pickle"
    return "pickle" if _TEXT_PICKLE.match(head) else "text"


def open_source(
    content: str | Path | bytes, *, filename: str | None = None, limit_mb: float = 500
) -> Source:
    """Check existence, emptiness and size of an upload before anything is parsed.

    Raises
    ------
    CohortError
        When the file does not exist, is empty, or is larger than `limit_mb` megabytes.
    """
    if isinstance(content, bytes):
        name = filename or _DEFAULT_NAMES.get(sniff(content[:512]), "upload")
    else:
        content = Path(content)
        name = filename or content.name
        if not content.is_file():
            raise CohortError(
                "The expression file was not found.",
                where=str(content),
                fix="Check the path and the spelling of the file name.",
            )
    name = PurePosixPath(name.replace("\\", "/")).name
    source = Source(name, content, int(limit_mb * MEGABYTE))
    if source.size == 0:
        raise CohortError(
            "The file is empty.",
            where=name,
            fix="Export the expression table again and check that the file has a size above zero.",
        )
    if source.size > source.limit_bytes:
        raise CohortError(
            f"The file is too large: {source.size / MEGABYTE:,.1f} MB, and the limit is "
            f"{limit_mb:,g} MB.",
            where=name,
            fix="Keep only the samples and genes you need (the 978 landmark genes are enough), or "
            "save as Parquet or h5ad.",
        )
    return source


def refuse_unpacked_size(source: Source, declared: int) -> None:
    """Refuse a file that announces more bytes than may be unpacked (a decompression bomb)."""
    if declared > source.unpacked_limit:
        raise CohortError(
            f"The file would unpack to {declared / MEGABYTE:,.0f} MB, and the limit is "
            f"{source.unpacked_limit / MEGABYTE:,.0f} MB.",
            where=source.name,
            fix="Keep only the samples and genes you need (the 978 landmark genes are enough).",
        )


@contextmanager
def library_reads(source: Source, what: str) -> Iterator[None]:
    """Tell the failures of a file library in plain words.

    Damaged uploads make zip, XML, HDF5 and Arrow libraries raise almost any exception, so every
    one is told as a damaged file; the original stays attached as the cause.

    Raises
    ------
    CohortError
        For any failure inside the block.
    """
    try:
        yield
    except (CohortError, MemoryError):
        raise
    except Exception as error:
        raise CohortError(
            f"The {what} cannot be read: it is damaged, cut off, or not laid out as such files "
            "are.",
            where=f"{source.name} ({type(error).__name__}: {str(error)[:160]})",
            fix="Copy or download the file again and compare its size with the original, or save "
            "the table again in the program that made it.",
        ) from error


@dataclass(frozen=True)
class StreamedText(Source):
    """A text file on disk, gzipped or not, that is read in passes and never held whole.

    Attributes
    ----------
    told : callable
        Given the bytes of the file that a pass has read so far.
    """

    told: Callable[[int], None]

    def open(self) -> BinaryIO:
        """A fresh stream of the text, unpacked."""
        assert isinstance(self.content, Path)
        return cast(BinaryIO, io.BufferedReader(_Passing(self), MEGABYTE))

    def packed(self) -> bool:
        """Whether the file is gzipped."""
        with cast(Path, self.content).open("rb") as stream:
            return sniff(stream.read(512)) == "gzip"


class _Passing(io.RawIOBase):
    """One pass over a file, which says how far it is."""

    def __init__(self, source: StreamedText) -> None:
        packed, self._told = source.packed(), source.told
        self._file = cast(Path, source.content).open("rb")
        self._stream: Any = gzip.GzipFile(fileobj=self._file) if packed else self._file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        size = int(self._stream.readinto(buffer))
        self._told(self._file.tell())
        return size

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._file.close()
        super().close()


@contextmanager
def unpacking(source: Source) -> Iterator[None]:
    """Tell that a gzip file is damaged.

    Raises
    ------
    CohortError
        For what gzip raises inside the block.
    """
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise CohortError(
            "The compressed file is damaged or was cut off.",
            where=f"{source.name} ({error})",
            fix="Copy or download the file again, or upload it uncompressed.",
        ) from error


def refuse_empty(source: Source, content: bytes) -> None:
    """Refuse a gzip file whose content, or the beginning of it, is nothing.

    Raises
    ------
    CohortError
        When `content` is empty.
    """
    if not content:
        raise CohortError("The compressed file is empty.", where=source.name)


def gunzip(source: Source) -> Source:
    """The content of a gzip file, refused as soon as it passes the upload limit."""
    with unpacking(source), source.open() as packed, gzip.GzipFile(fileobj=packed) as stream:
        content = stream.read(source.limit_bytes + 1)
    if len(content) > source.limit_bytes:
        raise CohortError(
            f"The compressed file unpacks to more than {source.limit_bytes / MEGABYTE:,.1f} MB, "
            "which is the limit.",
            where=source.name,
            fix="Keep only the samples and genes you need (the 978 landmark genes are enough).",
        )
    refuse_empty(source, content)
    return Source(source.name, content, source.limit_bytes)
