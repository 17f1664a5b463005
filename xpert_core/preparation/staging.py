"""What was read of large inputs, kept beside the output until it is written."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from xpert_core import __version__
from xpert_core.errors import DataError
from xpert_core.files import atomic_path
from xpert_core.genes import load_panel
from xpert_core.preparation.disk import DiskRows, remove_half_written

State = dict[str, np.ndarray]


class Staged:
    """What was read of one input: rows on disk, and a small state that says how far it is.

    Parameters
    ----------
    path : Path
        Without a suffix; rows are in ``.f32``, the state in ``.npz``.
    """

    def __init__(self, path: Path) -> None:
        self._rows, self._state = path.with_suffix(".f32"), path.with_suffix(".npz")

    def load(self, shape: tuple[int, int] | None = None) -> State | None:
        """The state, None where there is none that can be used.

        Parameters
        ----------
        shape : (int, int), optional
            Of the rows; by default the state's own ``shape``. Rows that are lost or cut off make
            the state useless.
        """
        try:
            with np.load(self._state, allow_pickle=False) as stored:
                state = {name: stored[name] for name in stored.files}
            size = int(np.prod(shape or state["shape"])) * np.dtype(np.float32).itemsize
            return state if self._rows.stat().st_size == size else None
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None

    def rows(self, shape: tuple[int, int]) -> DiskRows:
        """Rows of float32, as they were left; zeros where the state cannot be used.

        Raises
        ------
        DataError
            When the disk has no room for them.
        """
        if self.load(shape) is None:
            # Before there are new rows: a state that outlives its own would be taken for theirs.
            self._state.unlink(missing_ok=True)
        return DiskRows(self._rows, shape, np.float32)

    def save(self, state: State) -> None:
        """Write the state, atomically; the rows it tells of must be on the disk by then."""
        with atomic_path(self._state) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **state)  # type: ignore[arg-type]


class Stage:
    """The folder of what was read for one output.

    Parameters
    ----------
    folder : Path
        What a killed command was writing there is removed.

    Attributes
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        remove_half_written(folder)

    def entry(self, *identity: str) -> Staged:
        """What was read of one input.

        Parameters
        ----------
        identity : str
            Hash of the input, and everything else that what is read of it depends on: two inputs
            or settings never share an entry.
        """
        return Staged(self.path(*identity))

    def only_entry(self, *identity: str) -> Staged:
        """`entry`, where what was read of anything else is not needed any more: it is removed."""
        own = self.path(*identity)
        for left in (*self.folder.glob("*.f32"), *self.folder.glob("*.npz")):
            if left.stem != own.name:
                left.unlink(missing_ok=True)
        return Staged(own)

    def path(self, *identity: str) -> Path:
        """File or files of their own, without a suffix; `identity` as that of `entry`."""
        whole = json.dumps([*identity, load_panel().digest, __version__])
        return self.folder / hashlib.sha256(whole.encode()).hexdigest()[:32]

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def staged(out: Path) -> Iterator[Stage]:
    """The stage of an output: ``.NAME.work`` beside it, removed when the block succeeds.

    Raises
    ------
    DataError
        When another command is at work on the same output.
    """
    folder = out.parent / f".{out.name}.work"
    lock_path = folder.with_name(folder.name + ".lock")
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(
            "Another preparation is at work on the output.",
            where=str(out),
            fix="Wait for it, or choose another file.",
        ) from error
    try:
        stage = Stage(folder)
        yield stage
        stage.clear()
    finally:
        lock.release()
        lock_path.unlink(missing_ok=True)
