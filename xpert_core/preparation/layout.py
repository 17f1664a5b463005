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
from xpert_core.files import atomic_path, sha256_bytes
from xpert_core.genes import load_panel
from xpert_core.preparation.disk import reserve
from xpert_core.preparation.parts import PartedMatrix, in_memory
from xpert_core.preparation.records import KINDS, Prepared, Report, silent
from xpert_core.preparation.staging import Stage

if TYPE_CHECKING:
    import h5py

_OVERHEAD = 1 << 20
"""Bytes that an output takes beyond its parts and tables: HDF5's own, an index of the chunks."""


def write_prepared(
    path: Path,
    data: Prepared,
    *,
    stage: Stage,
    identity: str = "",
    rows: np.ndarray | None = None,
    report: Report = silent,
) -> int:
    """Write prepared rows, all or some of them.

    Matrices are packed in parts, which an interruption leaves: the next call does not pack them
    again. The output takes its place whole.

    Parameters
    ----------
    path : Path
    data : Prepared
    stage : Stage
        Where the parts lie meanwhile: as much room as the output takes.
    identity : str
        What the matrices of `data` depend on, where that is less than all there is to it.
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
        When there is no row, row names occur more than once, or the disk has no room.
    """
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
    sources = {"X": data.x} if data.x_ctl is None else {"X": data.x, "obsm/X_ctl": data.x_ctl}
    mine = identity or _identity(data)
    matrices = {
        name: PartedMatrix(
            source, chosen, stage, f"{mine} {name}", f"Writing {path.name}, {name}", report
        )
        for name, source in sources.items()
    }
    packed = sum(matrix.pack() for matrix in matrices.values())
    with in_memory() as tables:
        _write_tables(tables, obs, _uns(data, len(chosen)))
        reserve(stage.folder, packed + len(tables.id.get_file_image()) + _OVERHEAD)
        with atomic_path(path, within=stage.folder) as temporary:
            _put_together(temporary, tables, matrices)
    return len(chosen)


def _identity(data: Prepared) -> str:
    """Hash of all that the rows depend on: inputs, settings, steps, and the rows themselves."""
    known = json.dumps([data.scale, provenance(data, len(data))], sort_keys=True)
    return sha256_bytes(known.encode() + pd.util.hash_pandas_object(data.obs).to_numpy().tobytes())


def _write_tables(file: h5py.File, obs: pd.DataFrame, uns: dict[str, str]) -> None:
    """Everything but the matrices."""
    from anndata.io import write_elem

    file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    # Read elements of AnnData must exist even where they are empty.
    for name in ("obsm", "layers", "varm", "obsp", "varp"):
        write_elem(file, name, {})
    write_elem(file, "obs", _plain(obs))
    write_elem(file, "var", panel_table())
    write_elem(file, "uns", uns)
    file.flush()


def _put_together(path: Path, tables: h5py.File, matrices: dict[str, PartedMatrix]) -> None:
    """Write the output; there is room for it by now, because HDF5 does not survive a full disk."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs.update(tables.attrs)
        for name in tables:
            tables.copy(name, file)
        for name, matrix in matrices.items():
            matrix.join(file, name)


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
