"""The layout every preparation ends in: an h5ad file written block by block, whole or not at all.

``X`` is the profile after treatment (or of a sample), ``obsm["X_ctl"]`` the control, ``obs`` the
conditions, ``var`` the genes of the panel in its order, and ``uns`` says what was done: ``X_kind``,
``scale`` and ``provenance`` (a JSON text with inputs and their hashes, settings, versions, counts).
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xpert_core.errors import DataError
from xpert_core.files import atomic_path
from xpert_core.genes import load_panel
from xpert_core.preparation.records import KINDS, Prepared, Report, Rows, blocks, silent

if TYPE_CHECKING:
    import h5py

BLOCK = 2048
"""Rows held in memory at a time while a file is written."""


def write_prepared(
    path: Path, data: Prepared, *, rows: np.ndarray | None = None, report: Report = silent
) -> int:
    """Write prepared rows, all or some of them.

    Parameters
    ----------
    path : Path
    data : Prepared
    rows : ndarray of int64, optional
        Rows to write, increasing; default all.
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
        for name, source in parts.items():
            _write_matrix(file, name, source, chosen, f"Writing {path.name}, {name}", report)
        write_elem(file, "obs", _plain(obs))
        write_elem(file, "var", panel_table())
        write_elem(file, "uns", _uns(data, len(chosen)))
    return len(chosen)


def _write_matrix(
    file: h5py.File, name: str, source: Rows, chosen: np.ndarray, label: str, report: Report
) -> None:
    shape = (len(chosen), len(load_panel()))
    target = file.create_dataset(
        name, shape, np.float32, chunks=(min(256, shape[0]), shape[1]), compression="gzip",
        compression_opts=1, shuffle=True,
    )  # fmt: skip
    target.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for first, last in blocks(len(chosen), BLOCK):
        part = chosen[first:last]
        low, high = int(part[0]), int(part[-1]) + 1
        if high - low == len(part):
            target[first:last] = source(low, high)
        else:  # a subset: rows in between are passed over block by block, never held together
            kept = [
                source(a + low, b + low)[part[(part >= a + low) & (part < b + low)] - (a + low)]
                for a, b in blocks(high - low, BLOCK)
            ]
            target[first:last] = np.concatenate(kept)
        report(label, last, len(chosen))


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
