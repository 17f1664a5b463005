"""The layout every preparation ends in: an h5ad file written block by block, whole or not at all.

``X`` is the profile after treatment (or of a sample), ``obsm["X_ctl"]`` the control, ``obs`` the
conditions, ``var`` the genes of the panel in its order, and ``uns`` says what was done: ``X_kind``,
``scale`` and ``provenance`` (a JSON text with inputs and their hashes, settings, versions, counts).
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xpert_core.errors import DataError
from xpert_core.files import atomic_path, sha256_bytes
from xpert_core.genes import load_panel
from xpert_core.preparation.records import KINDS, Prepared, Report, Rows, blocks, silent
from xpert_core.preparation.staging import Stage

if TYPE_CHECKING:
    import h5py

BLOCK = 2048
"""Rows held in memory at a time while a file is written."""
PART_BLOCKS = 16
"""Blocks of a part: what was written of one is not written again after an interruption."""
_CHUNK = 256
"""Rows of an HDF5 chunk; parts hold whole chunks."""


def write_prepared(
    path: Path,
    data: Prepared,
    *,
    rows: np.ndarray | None = None,
    stage: Stage,
    report: Report = silent,
) -> int:
    """Write prepared rows, all or some of them, in parts that outlive an interruption.

    Parameters
    ----------
    path : Path
    data : Prepared
    rows : ndarray of int64, optional
        Rows to write, increasing; default all.
    stage : Stage
        Where the parts lie meanwhile.
    report : callable, optional

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    DataError
        When there is no row, or row names occur more than once.
    """
    import h5py
    from anndata.io import write_elem

    chosen = np.arange(len(data)) if rows is None else np.asarray(rows, dtype=np.int64)
    data.counts.refuse_empty(len(chosen), path.name)
    obs = data.obs.iloc[chosen]
    if obs.index.has_duplicates:
        first = obs.index[obs.index.duplicated()][0]
        raise DataError(
            "Row names occur more than once.",
            where=f"{path.name}: {first}",
            fix="Give each sample of the input a name of its own.",
        )
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        parts = {"X": data.x} if data.x_ctl is None else {"X": data.x, "obsm/X_ctl": data.x_ctl}
        # Read elements of AnnData must exist even where they are empty.
        for name in ("obsm", "layers", "varm", "obsp", "varp"):
            write_elem(file, name, {})
        mine = _identity(data, obs)
        for name, source in parts.items():
            label = f"Writing {path.name}, {name}"
            writer = _Writer(source, chosen, stage, (mine, name), label, report)
            writer.write(file, name)
        write_elem(file, "obs", _plain(obs))
        write_elem(file, "var", panel_table())
        write_elem(file, "uns", _uns(data, len(chosen)))
    return len(chosen)


def _identity(data: Prepared, obs: pd.DataFrame) -> str:
    """Hash of all that the rows depend on: inputs, settings, steps, and which rows they are."""
    known = json.dumps(provenance(data, len(obs)), sort_keys=True)
    rows = pd.util.hash_pandas_object(obs).to_numpy()
    return sha256_bytes(known.encode() + rows.tobytes())


@dataclass(frozen=True)
class _Writer:
    """One matrix of a file, in parts: each is a file of its own until the whole is written."""

    source: Rows
    chosen: np.ndarray
    stage: Stage
    identity: tuple[str, ...]
    label: str
    report: Report

    def write(self, file: h5py.File, name: str) -> None:
        """Write the parts that are not there yet, and put all together."""
        import h5py

        target = _dataset(file, name, len(self.chosen))
        target.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for first, last in blocks(len(self.chosen), PART_BLOCKS * BLOCK):
            path = self.stage.path(*self.identity, str(first)).with_suffix(".h5")
            if not path.is_file():
                with atomic_path(path) as temporary, h5py.File(temporary, "w") as part:
                    self._write_part(_dataset(part, "rows", last - first), first, last)
            with h5py.File(path, "r") as part:
                _take_chunks(part["rows"], target, first)
            self.report(self.label, last, len(self.chosen))

    def _write_part(self, target: h5py.Dataset, start: int, end: int) -> None:
        for first, last in blocks(end - start, BLOCK):
            target[first:last] = self._read(self.chosen[start + first : start + last])
            self.report(self.label, start + last, len(self.chosen))

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


def _dataset(file: h5py.File, name: str, size: int) -> h5py.Dataset:
    genes = len(load_panel())
    return file.create_dataset(
        name, (size, genes), np.float32, chunks=(_CHUNK, genes), maxshape=(None, genes),
        compression="gzip", compression_opts=1, shuffle=True,
    )  # fmt: skip


def _take_chunks(part: h5py.Dataset, target: h5py.Dataset, first: int) -> None:
    """Copy chunks as they lie on the disk, without unpacking them."""
    for row in range(0, len(part), _CHUNK):
        mask, packed = part.id.read_direct_chunk((row, 0))
        target.id.write_direct_chunk((first + row, 0), packed, mask)


def _plain(obs: pd.DataFrame) -> pd.DataFrame:
    """Columns that every reader of h5ad understands: numbers, booleans, categories of text."""
    table = pd.DataFrame(index=obs.index.astype(str))
    for name, column in obs.items():
        if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
            table[str(name)] = column.to_numpy()
        else:
            text = column.astype(object).where(column.notna(), "").astype(str)
            table[str(name)] = pd.Categorical(text.to_numpy())
    return table


def panel_table() -> pd.DataFrame:
    """``var`` of the layout: genes of the panel in its order, index their symbols."""
    panel = load_panel()
    return pd.DataFrame(
        {
            "gene_symbol": panel.symbols,
            "entrez_id": np.array(panel.entrez, dtype=np.int64),
            "ensembl_id": panel.ensembl,
        },
        index=pd.Index(panel.symbols, name="symbol"),
    )


def _uns(data: Prepared, size: int) -> dict[str, str]:
    return {
        "X_kind": KINDS[data.kind],
        "scale": data.scale,
        "provenance": json.dumps(provenance(data, size), indent=1),
    }


def provenance(data: Prepared, size: int) -> dict[str, Any]:
    """What made the file: inputs with hashes, settings, versions, counts of each step."""
    from importlib.metadata import version

    from xpert_core import __version__

    panel = load_panel()
    return {
        "source": data.source,
        "inputs": data.inputs,
        "settings": data.settings,
        "counts": [{"step": what, "rows": count} for what, count in data.counts.steps],
        "rows_written": size,
        "panel": {"name": panel.name, "digest": panel.digest},
        "versions": {
            "xpert": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "h5py", "anndata")},
        },
    }
