"""CMap matrices (GCTX) read in blocks: a file of 90 GB never stands in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from xpert_core.cohorts.hdf import label_texts, refuse_links
from xpert_core.cohorts.profiles import MINIMUM_FRACTION
from xpert_core.cohorts.table import MISSING_NUMBER
from xpert_core.errors import CohortError, DataError
from xpert_core.genes import load_panel, resolve
from xpert_core.preparation.records import names_of
from xpert_core.preparation.sheets import need_file, unreadable

if TYPE_CHECKING:
    import h5py

_RUN = 256
"""Rows of the matrix read at once, all genes of the file: 12 MB for 12,328 genes."""
_GAP = 8
"""Unwanted rows that are read along rather than skipped."""
_CHUNK_CACHE = 64 << 20
"""Bytes of unpacked chunks kept, so that a chunk that two runs touch is unpacked once."""


class Gctx:
    """One matrix, samples in rows on disk.

    Attributes
    ----------
    name : str
    ids : ndarray of bytes, shape (n_samples,)
        Sample ids in file order.
    genes : tuple of str
        Gene ids in file order.
    """

    def __init__(self, file: h5py.File, path: Path) -> None:
        self.name = path.name
        self._path = path
        refuse_links(file, path.name)
        self.matrix = file["0/DATA/0/matrix"]
        self.ids = np.char.strip(file["0/META/COL/id"][...].astype("S"))
        self.genes = tuple(label_texts(file["0/META/ROW/id"][...]))
        if self.matrix.shape != (len(self.ids), len(self.genes)):
            raise DataError(
                "The matrix does not fit its labels.",
                where=f"{path.name}: {self.matrix.shape} values, {len(self.ids):,} samples, "
                f"{len(self.genes):,} genes",
                fix="GCTX files keep one sample in a row of /0/DATA/0/matrix: download it again.",
            )
        self._order = np.argsort(self.ids, kind="stable")
        ordered = self.ids[self._order]
        repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if len(repeated):
            raise DataError(
                f"{len(repeated):,} sample ids occur more than once in the matrix.",
                where=f"{path.name}: {names_of(i.decode() for i in repeated)}",
                fix="Keep one profile for each sample id.",
            )

    def __len__(self) -> int:
        return len(self.ids)

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Row of each sample id; int64, -1 where the file has none. `ids` is an array of bytes."""
        if not len(self.ids):
            return np.full(len(ids), -1, dtype=np.int64)
        at = np.searchsorted(self.ids, ids, sorter=self._order)
        row = self._order[np.minimum(at, len(self.ids) - 1)]
        return np.where(self.ids[row] == ids, row, -1).astype(np.int64)

    def read(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Values of increasing rows and of the given columns; float32, NaN for -666 and column -1.

        Raises
        ------
        DataError
            When the file is damaged there.
        """
        found = np.full((len(rows), len(columns)), np.nan, dtype=np.float32)
        known = columns >= 0
        for first, last in _runs(rows):
            low, high = int(rows[first]), int(rows[last - 1]) + 1
            try:
                values = self.matrix[low:high]
            except OSError as error:
                raise unreadable(self._path, "matrix", error) from error
            part = values[rows[first:last] - low][:, columns[known]]
            found[first:last, known] = part
        found[found == MISSING_NUMBER] = np.nan
        return found


def _runs(rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Spans (first, last) of increasing `rows` that are close enough to be read together."""
    first = 0
    for i in range(1, len(rows) + 1):
        end = i == len(rows) or rows[i] - rows[i - 1] > _GAP or rows[i] - rows[first] >= _RUN
        if end and i > first:
            yield first, i
            first = i


@contextmanager
def open_gctx(path: Path, what: str) -> Iterator[Gctx]:
    """A matrix that is whole and refers to no other file.

    Raises
    ------
    DataError
        When it is missing, damaged, cut off, or no GCTX file.
    """
    import h5py

    need_file(path, what)
    try:
        with h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE) as file:
            try:
                opened = Gctx(file, path)
            except (KeyError, AttributeError, OSError, ValueError, CohortError) as error:
                raise unreadable(path, what, error) from error
            yield opened
    except OSError as error:
        raise unreadable(path, what, error) from error


def panel_columns(genes: tuple[str, ...], name: str, info: pd.DataFrame | None) -> np.ndarray:
    """Column of the matrix for each gene of the panel; int64, -1 where it has none.

    Parameters
    ----------
    genes : tuple of str
        Ids of the matrix: Entrez in LINCS files; symbols, Ensembl ids and probes are known too.
    name : str
        File name, for messages.
    info : DataFrame or None
        geneinfo_beta.txt (``gene_id``, ``gene_symbol``): names ids that are not known by
        themselves.

    Raises
    ------
    DataError
        When fewer than half of the panel is there.
    """
    panel = load_panel()
    found = resolve(genes, panel).column_of_gene
    if info is not None and (found < 0).any():
        symbol = dict(zip(info["gene_id"], info["gene_symbol"], strict=True))
        named = resolve([symbol.get(gene, "") for gene in genes], panel).column_of_gene
        found = np.where(found >= 0, found, named)
    count = int((found >= 0).sum())
    if count < MINIMUM_FRACTION * len(panel):
        raise DataError(
            f"Only {count} of the {len(panel)} landmark genes are in the file.",
            where=f"{name}: its genes begin with {names_of(genes)}",
            fix="Give the matrix of all genes, named by Entrez id; with other ids, give "
            "geneinfo_beta.txt too.",
        )
    return found
