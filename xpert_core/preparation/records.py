"""Records between the steps of a preparation: what was kept, what was left out, and where from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from xpert_core.errors import DataError

T = TypeVar("T")
Report = Callable[[str, int, int], None]
"""(what is done, done, total)"""
Track = Callable[[Iterable[T], str], Iterable[T]]

KINDS = {
    "pairs": "expression after treatment; X_ctl is before treatment or of the control",
    "samples": "expression of one sample a row",
}
"""What ``X`` of a prepared file holds, by layout: stored as ``uns['X_kind']``."""


def silent(what: str, done: int, total: int) -> None:
    """Report to nobody."""


@dataclass
class Counts:
    """Steps of a preparation with the rows each left, in order.

    Attributes
    ----------
    steps : list of (str, int)
        What the step was, and how many rows it kept or left out: the sentence says which.
    """

    steps: list[tuple[str, int]] = field(default_factory=list)

    def add(self, what: str, count: int) -> None:
        """Note a step."""
        self.steps.append((what, int(count)))

    def keep(self, frame: pd.DataFrame, mask: Any, what: str) -> pd.DataFrame:
        """Rows of `frame` where `mask` is true; those left out are counted under `what`."""
        kept = np.asarray(mask, dtype=bool)
        if not kept.all():
            self.add(f"left out: {what}", int((~kept).sum()))
            return frame[kept].reset_index(drop=True)
        return frame

    def lines(self) -> list[str]:
        """For people: ``1,234  left out: ...``."""
        return [f"{count:>12,}  {what}" for what, count in self.steps]

    def refuse_empty(self, size: int, where: str) -> None:
        """Refuse a result without rows, saying which steps left them out.

        Raises
        ------
        DataError
            When `size` is 0.
        """
        if size == 0:
            told = "; ".join(f"{count:,} {what}" for what, count in self.steps)
            raise DataError(
                "Nothing is left after cleaning.",
                where=f"{where}: {told}"[:600],
                fix="Check that the files belong together and that their columns mean what this "
                "step expects (docs/data-preparation.md).",
            )


@dataclass(frozen=True)
class Prepared:
    """Rows of one prepared file, before it is written.

    Attributes
    ----------
    obs : DataFrame, N rows
        Index: row names, unique.
    x : callable
        (first, last) to float32 of shape (last - first, G): rows of ``X``, log2, panel order, NaN
        where a gene is not measured.
    x_ctl : callable or None
        The same for ``obsm["X_ctl"]``; None where a row is one sample.
    kind : str
        Key of `KINDS`.
    scale : str
        Such as ``"log2(CPM + 1)"``.
    source : str
        What was prepared: ``"lincs"``, ``"panacea"``...
    inputs : dict
        File name to SHA-256.
    settings : dict
    counts : Counts
    """

    obs: pd.DataFrame
    x: Rows
    x_ctl: Rows | None
    kind: str
    scale: str
    source: str
    inputs: dict[str, str]
    settings: dict[str, Any]
    counts: Counts

    def __len__(self) -> int:
        return len(self.obs)


Rows = Callable[[int, int], np.ndarray]


def rows_of(values: np.ndarray) -> Rows:
    """Rows of a matrix in memory."""
    return lambda first, last: values[first:last]


def blocks(size: int, block: int) -> Iterator[tuple[int, int]]:
    """(first, last) of consecutive blocks that cover `size` rows."""
    return ((first, min(first + block, size)) for first in range(0, size, block))


def names_of(values: Iterable[Any], limit: int = 3) -> str:
    """The first few values, for a message."""
    return ", ".join(f"'{str(v)[:40]}'" for v, _ in zip(values, range(limit), strict=False))


def digests(paths: Iterable[Path | None], report: Report = silent) -> dict[str, str]:
    """SHA-256 of each input file by its name, reporting MiB read."""
    import hashlib

    found = {}
    for path in filter(None, paths):
        digest, size, done = hashlib.sha256(), path.stat().st_size, 0
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
                done += len(chunk)
                report(f"Hash of {path.name} (MiB)", done >> 20, size >> 20)
        name, number = path.name, 2
        while name in found:  # two folders may hold files of one name
            name, number = f"{path.name} ({number})", number + 1
        found[name] = digest.hexdigest()
    return found
