"""Prediction files: h5ad holds everything, Parquet and CSV are tables for other tools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from xpert_core.errors import XPertError
from xpert_core.files import atomic_path, write_bytes_atomic
from xpert_core.prediction.records import X_DEG_UNIT, Prediction

SUFFIXES = (".h5ad", ".parquet", ".csv")
#: Spreadsheets run text cells that begin with these as formulas.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def written_files(path: Path) -> tuple[Path, ...]:
    """Every file that `save_prediction` writes for `path`: a CSV has its provenance beside it."""
    beside = path.with_suffix(".provenance.json")
    return (path, beside) if path.suffix == ".csv" else (path,)


def save_prediction(prediction: Prediction, path: Path) -> None:
    """Write a prediction; see `Prediction.save`."""
    if path.suffix not in SUFFIXES:
        raise XPertError(
            f"A result cannot be written as '{path.suffix}'.",
            where=path.name,
            fix=f"Use one of {', '.join(SUFFIXES)}.",
        )
    try:
        with atomic_path(path) as temporary:
            if path.suffix == ".h5ad":
                prediction.to_anndata().write_h5ad(temporary, compression="gzip")
            elif path.suffix == ".parquet":
                _write_parquet(prediction, temporary)
            else:
                table(prediction, safe=True).to_csv(temporary, index_label="row_id")
        if path.suffix == ".csv":
            note = json.dumps(prediction.provenance, indent=1)
            write_bytes_atomic(written_files(path)[1], note.encode())
    except OSError as error:
        raise XPertError(
            "The result could not be written.",
            where=f"{path.name}: {error.strerror or error}",
            fix="Free disk space or choose a folder you may write to.",
        ) from error


def load_prediction(path: Path | str) -> Prediction:
    """Read a prediction written as h5ad.

    Raises
    ------
    XPertError
        If it is not such a file.
    """
    import anndata

    path = Path(path)
    try:
        data = anndata.read_h5ad(path)
        provenance = json.loads(data.uns["provenance"])
        x_pert = np.asarray(data.layers["x_pert"], dtype=np.float32)
    except Exception as error:
        raise XPertError(
            "This is not a stored XPert prediction, or it is damaged.",
            where=path.name,
            fix="Give an .h5ad file written by XPert.",
        ) from error
    text = ("sample_id", "patient_id", "drug", "smiles", "inchikey", "drug_fallback")
    rows = data.obs.astype(dict.fromkeys(text, object)).rename_axis("row_id")
    genes = data.var.astype({"ensembl_id": object}).rename_axis("symbol")
    return Prediction(rows, genes, np.asarray(data.X, dtype=np.float32), x_pert, provenance)


def table(prediction: Prediction, *, safe: bool = False) -> pd.DataFrame:
    """Metadata and x_deg side by side, one column a gene.

    Parameters
    ----------
    prediction : Prediction
    safe : bool
        Put a quote before text that a spreadsheet would run as a formula.
    """
    rows = prediction.rows
    if safe:
        rows = rows.apply(lambda c: c.map(quote_formula) if c.dtype == object else c)
        rows.index = rows.index.map(quote_formula)
    values = pd.DataFrame(prediction.x_deg, index=rows.index, columns=prediction.genes.index)
    return pd.concat([rows, values], axis=1)


def quote_formula(value: object) -> object:
    """`value` with a quote in front if it is text that a spreadsheet would run."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _write_parquet(prediction: Prediction, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = pa.Table.from_pandas(table(prediction).reset_index(names="row_id"))
    note = {"provenance": json.dumps(prediction.provenance), "x_deg_unit": X_DEG_UNIT}
    pq.write_table(whole.replace_schema_metadata({**(whole.schema.metadata or {}), **note}), path)
