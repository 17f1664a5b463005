"""Changes and controls of a file's rows, brought to the disk; a stopped reading goes on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpert_core.genes import load_panel
from xpert_core.preparation.assemble import ProfileNumbers
from xpert_core.preparation.parts import BLOCK
from xpert_core.preparation.published import LayoutFile
from xpert_core.preparation.records import Report, blocks
from xpert_core.preparation.staging import Staged

CHECKPOINT_BLOCKS = 16


@dataclass(frozen=True)
class Changes:
    """What was read of N rows; its matrices are files that are mapped, not memory.

    Attributes
    ----------
    whole : ndarray of bool, shape (N,)
        Rows with a value for every gene of the panel: the n rows of the others.
    x_deg : ndarray of float32, shape (n, G)
    profiles : ndarray of float32, shape (P, G)
        Distinct controls, in the order they are first seen.
    profile_index : ndarray of int64, shape (n,)
    """

    whole: np.ndarray
    x_deg: np.ndarray
    profiles: np.ndarray
    profile_index: np.ndarray


class _Gatherer:
    """Rows on the disk, as far as they were read before."""

    def __init__(self, entry: Staged, size: int) -> None:
        # Changes first, then controls, of which there are never more.
        self._entry, shape = entry, (2 * size, len(load_panel()))
        state = entry.load(shape) or {
            "done": np.array(0),
            "whole": np.zeros(size, dtype=bool),
            "numbers": np.zeros(0, dtype=np.int64),
            "hashes": np.zeros((0, 16), dtype=np.uint8),
        }
        self._disk = entry.rows(shape)
        self._x_deg, self._controls = self._disk.values[:size], self._disk.values[size:]
        self.done, self._whole = int(state["done"]), state["whole"]
        self._numbers = np.zeros(size, dtype=np.int64)
        self._size = len(state["numbers"])
        self._numbers[: self._size] = state["numbers"]
        self._profiles = ProfileNumbers(state["hashes"])

    def add(self, place: slice, control: np.ndarray, after: np.ndarray) -> None:
        """Take rows; what is added after a checkpoint is added again when the reading goes on."""
        whole = (np.isfinite(control) & np.isfinite(after)).all(axis=1)
        self._whole[place] = whole
        control, known, first = control[whole], len(self._profiles), self._size
        numbers, new = self._profiles.add(control)
        self._controls[known : known + len(new)] = control[new]
        self._size += len(control)
        self._numbers[first : self._size] = numbers
        self._x_deg[first : self._size] = after[whole] - control

    def save(self, done: int) -> None:
        """A checkpoint after `done` rows of the file."""
        self._disk.sync()
        self._disk.release()
        self._entry.save(
            {
                "done": np.array(done),
                "whole": self._whole,
                "numbers": self._numbers[: self._size],
                "hashes": self._profiles.hashes,
            }
        )

    def finish(self) -> Changes:
        """What was read."""
        return Changes(
            self._whole,
            self._x_deg[: self._size],
            self._controls[: len(self._profiles)],
            self._numbers[: self._size],
        )


def read_changes(file: LayoutFile, rows: np.ndarray, entry: Staged, report: Report) -> Changes:
    """Changes and distinct controls of some rows of a file.

    Parameters
    ----------
    file : LayoutFile
    rows : ndarray of int64, shape (N,)
        Increasing.
    entry : Staged
        Of the file and the rows; room for twice N profiles is taken at the start.
    report : callable

    Raises
    ------
    DataError
        When the file is damaged, or the disk has no room.
    """
    x, x_ctl = file.rows("X"), file.rows("obsm/X_ctl")
    found, size = _Gatherer(entry, len(rows)), len(file.obs)
    for number, (first, last) in enumerate(blocks(size, BLOCK), start=1):
        if last <= found.done:
            continue
        a, b = np.searchsorted(rows, (first, last))
        if a < b:
            own = rows[a:b] - first
            found.add(slice(a, b), x_ctl(first, last)[own], x(first, last)[own])
        if number % CHECKPOINT_BLOCKS == 0 or last == size:
            found.save(last)
        report("Profiles", last, size)
    return found.finish()
