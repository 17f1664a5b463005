"""Sums that live on disk and survive a kill: a block of rows is added wholly or not at all."""

from __future__ import annotations

import errno
import json
import mmap
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from xpert_core.errors import DataError
from xpert_core.files import atomic_path, write_bytes_atomic


class DiskRows:
    """A matrix in a file of its own, zeros at first, mapped rather than read.

    Parameters
    ----------
    path : Path
        Made when it is not there or has another size, with all of its space: a write to a mapped
        hole kills the program where the disk is full.
    shape : (int, int)
    dtype : dtype

    Attributes
    ----------
    values : ndarray

    Raises
    ------
    DataError
        When the disk has no room for it.
    """

    def __init__(self, path: Path, shape: tuple[int, int], dtype: Any = np.float64) -> None:
        size = _size(shape, dtype)
        if not _is_whole(path, size):
            with atomic_path(path) as temporary:
                _make_zeros(temporary, size)
        with path.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), size)
        self.values: np.ndarray = np.ndarray(shape, dtype, buffer=self._map)

    def release(self) -> None:
        """Give the pages back to the system: what was written stays in the file."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def sync(self) -> None:
        """Bring what was written to the disk."""
        self._map.flush()


def _size(shape: tuple[int, int], dtype: Any) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def reserve(folder: Path, size: int) -> None:
    """See that a file of `size` bytes can be written to a folder: room, quotas and limits.

    Raises
    ------
    DataError
        When there is no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    room = folder / "room"
    try:
        _make_zeros(room, size)
    finally:
        room.unlink(missing_ok=True)


def _make_zeros(path: Path, size: int) -> None:
    """Make a file of `size` zero bytes that has its space on the disk.

    Raises
    ------
    DataError
        When there is no room for it.
    """
    try:
        with path.open("wb", buffering=0) as stream:
            _reserve(stream, size)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise DataError(
            "The files of the preparation do not fit on the disk.",
            where=f"{path.parent}: {size / 1e9:,.3g} GB are needed for one of them, "
            f"{free / 1e9:,.3g} GB are free ({error.strerror})",
            fix="Make room, or choose an output folder on another disk; the same command goes on.",
        ) from error


def _reserve(stream: BinaryIO, size: int) -> None:
    """Give an empty file `size` zero bytes, by the system's own call where there is one."""
    try:
        os.posix_fallocate(stream.fileno(), 0, size)
        return
    except AttributeError:  # not on macOS and Windows
        pass
    except OSError as error:
        # Some file systems cannot; any other error is that of a disk that is full.
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    zeros = memoryview(bytes(1 << 20))
    while size > 0:
        size -= stream.write(zeros[: min(size, len(zeros))])


class Work:
    """A folder of half-done work, with how far it is.

    Parameters
    ----------
    folder : Path
        Made when it is not there.
    identity : str
        Hash of inputs and settings: work of another identity is never continued.
    force : bool
        Start anew where the folder belongs to something else.

    Raises
    ------
    DataError
        When the folder belongs to other inputs or settings and `force` is not set.
    """

    def __init__(self, folder: Path, identity: str, *, force: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        remove_half_written(folder)
        self._state_path, self._undo = folder / "state.json", folder / "undo.npz"
        self.state = read_state(folder)
        if self.state and self.state.get("identity") != identity:
            if not force:
                raise DataError(
                    "An interrupted preparation of other files or settings is in the output "
                    "folder.",
                    where=folder.name,
                    fix="Finish it with its own command, choose another folder, or add --force to "
                    "drop it.",
                )
            self.clear()
            folder.mkdir(parents=True)
            self.state = {}
        if not self.state:
            for left in (*folder.glob("*.f64"), self._undo):  # sums that no state tells of
                left.unlink(missing_ok=True)
            self.state = {"identity": identity, "done": {}, "writing": "", "written": {}}
            self.save()

    def save(self) -> None:
        """Write the state, atomically."""
        write_bytes_atomic(self._state_path, json.dumps(self.state, indent=1).encode())

    def done(self, phase: str) -> int:
        """Blocks of a phase that are in its sums."""
        return int(self.state["done"].get(phase, 0))

    def rows(self, name: str, shape: tuple[int, int], phase: str) -> DiskRows:
        """Sums that a phase adds to, as they were left.

        Parameters
        ----------
        name : str
            The file is ``NAME.f64``.
        shape : (int, int)
        phase : str

        Raises
        ------
        DataError
            When blocks of the phase are done and the file is lost or cut off, or the disk has no
            room for it.
        """
        path = self.folder / f"{name}.f64"
        if self.done(phase) and not _is_whole(path, _size(shape, np.float64)):
            raise DataError(
                "Sums of an interrupted preparation are lost: going on would leave out what was "
                "added to them.",
                where=f"{path}, after {self.done(phase):,} blocks",
                fix=f"Delete the folder {self.folder.name} and run the same command again, from "
                "the start.",
            )
        return DiskRows(path, shape)

    def add(
        self, phase: str, block: int, sums: list[tuple[DiskRows, np.ndarray, np.ndarray]]
    ) -> None:
        """Add a block to sums: after a kill at any point it is there once, or not at all.

        Parameters
        ----------
        phase : str
        block : int
            Number of the block, from 0.
        sums : list of (DiskRows, ndarray of int64, ndarray)
            Target, its distinct rows, and what is added to each.
        """
        before = {f"rows{i}": rows for i, (_, rows, _) in enumerate(sums)}
        before |= {f"old{i}": to.values[rows] for i, (to, rows, _) in enumerate(sums)}
        with atomic_path(self._undo) as temporary, temporary.open("wb") as stream:
            np.savez(stream, block=block, phase=phase, **before)  # type: ignore[arg-type]
        for to, rows, values in sums:
            to.values[rows] += values
            to.sync()
            to.release()
        self.state["done"][phase] = block + 1
        self.save()

    def undo_half_done(self, phase: str, targets: list[DiskRows]) -> None:
        """Take back a block that was interrupted while it was added."""
        if not self._undo.is_file():
            return
        with np.load(self._undo, allow_pickle=False) as old:
            if str(old["phase"]) != phase or int(old["block"]) != self.done(phase):
                return
            for i, to in enumerate(targets):
                to.values[old[f"rows{i}"]] = old[f"old{i}"]

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)


def remove_half_written(folder: Path) -> None:
    """Remove what a killed command was writing to a folder, see `xpert_core.files.atomic_path`."""
    for left in folder.glob(".*"):
        if left.is_file():
            left.unlink(missing_ok=True)


def read_state(folder: Path) -> dict[str, Any]:
    """State of a work folder; empty when there is none, or none that can be read."""
    try:
        return dict(json.loads((folder / "state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def summed(rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows, and the sum in float64 of the values of each."""
    order = np.argsort(rows, kind="stable")
    distinct, starts = np.unique(rows[order], return_index=True)
    return distinct, np.add.reduceat(values[order].astype(np.float64), starts, axis=0)
