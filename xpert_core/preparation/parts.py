"""A large matrix of an output, in parts that outlive an interruption."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpert_core.files import sha256_bytes, sha256_file, write_bytes_atomic
from xpert_core.genes import load_panel
from xpert_core.preparation.records import Report, Rows, blocks
from xpert_core.preparation.staging import Stage

if TYPE_CHECKING:
    import h5py

BLOCK = 2048
"""Rows read at a time."""
PART_BLOCKS = 2
"""Blocks of a part, which is packed in memory."""
_CHUNK = 256
"""Rows of an HDF5 chunk; parts hold whole chunks."""


@dataclass(frozen=True)
class PartedMatrix:
    """A matrix whose packed parts are files of their own until the output is put together.

    Attributes
    ----------
    source : callable
        (first, last) to rows.
    chosen : ndarray of int64, shape (N,)
        Rows of the source to write, increasing.
    stage : Stage
        Where the parts lie.
    identity : str
        What `source` depends on, and which of its matrices this is.
    label : str
        For `report`.
    report : callable
    """

    source: Rows
    chosen: np.ndarray
    stage: Stage
    identity: str
    label: str
    report: Report

    def pack(self) -> int:
        """Write the parts that are not there yet; returns the bytes of all of them."""
        size = 0
        for first, last, path in self._parts():
            if not _is_whole(path):
                image = self._packed(first, last)
                write_bytes_atomic(path, image)
                write_bytes_atomic(_checksum(path), sha256_bytes(image).encode())
            size += path.stat().st_size
            self.report(self.label, last, len(self.chosen))
        return size

    def join(self, file: h5py.File, name: str) -> None:
        """Put the parts together, copying chunks as they lie on the disk."""
        import h5py

        target = _dataset(file, name, len(self.chosen))
        target.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for first, last, path in self._parts():
            with h5py.File(path, "r") as part:
                for row in range(0, last - first, _CHUNK):
                    mask, packed = part["rows"].id.read_direct_chunk((row, 0))
                    target.id.write_direct_chunk((first + row, 0), packed, mask)

    def _parts(self) -> Iterator[tuple[int, int, Path]]:
        mine = (self.identity, sha256_bytes(self.chosen.tobytes()))
        for first, last in blocks(len(self.chosen), PART_BLOCKS * BLOCK):
            yield first, last, self.stage.path(*mine, f"{first}-{last}").with_suffix(".h5")

    def _packed(self, start: int, end: int) -> bytes:
        """A file of some rows. In memory: HDF5 does not survive a disk that fills up."""

        with in_memory() as file:
            target = _dataset(file, "rows", end - start)
            for first, last in blocks(end - start, BLOCK):
                target[first:last] = self._read(self.chosen[start + first : start + last])
            file.flush()
            return bytes(file.id.get_file_image())

    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the source: those in between are passed over block by block, never together."""
        low, high = int(rows[0]), int(rows[-1]) + 1
        if high - low == len(rows):
            return self.source(low, high)
        return np.concatenate(
            [
                self.source(low + a, low + b)[rows[(rows >= low + a) & (rows < low + b)] - low - a]
                for a, b in blocks(high - low, BLOCK)
            ]
        )


def in_memory() -> h5py.File:
    """A new HDF5 file that is never written to the disk."""
    import h5py

    # Named, because HDF5 knows open files by their names.
    return h5py.File(secrets.token_hex(8), "w", driver="core", backing_store=False)


def _dataset(file: h5py.File, name: str, size: int) -> h5py.Dataset:
    genes = len(load_panel())
    return file.create_dataset(
        name, (size, genes), np.float32, chunks=(_CHUNK, genes), maxshape=(None, genes),
        compression="gzip", compression_opts=1, shuffle=True,
    )  # fmt: skip


def _checksum(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    try:
        return _checksum(path).read_text(encoding="ascii") == sha256_file(path)
    except (OSError, UnicodeDecodeError):
        return False
