"""The record of a prediction: numbers with everything needed to reproduce them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

#: Unit of x_deg and x_pert, to be written wherever they are shown.
X_DEG_UNIT = "log2 fold change on the L1000 assay"
X_PERT_UNIT = "log2 expression on the L1000 assay (0 to 15)"


@dataclass(frozen=True)
class Prediction:
    """Predicted responses, one row per profile x drug x dose x time.

    Attributes
    ----------
    rows : DataFrame
        Index ``row_id`` (unique text). Columns ``sample_id``, ``patient_id``, ``drug``,
        ``smiles``, ``inchikey``, ``dose_um``, ``time_h``, ``n_missing_genes`` (int),
        ``drug_fallback`` (text, "" if none).
    genes : DataFrame
        One row per panel gene, index ``symbol``, columns ``entrez_id``, ``ensembl_id``,
        ``measured`` (bool: the cohort had the gene).
    x_deg : ndarray of float32, shape (n_rows, n_genes)
        Predicted change, unit `X_DEG_UNIT` (difference head, equation 13).
    x_pert : ndarray of float32, shape (n_rows, n_genes)
        Predicted expression after treatment, unit `X_PERT_UNIT` (equation 10).
    provenance : dict
        JSON-serialisable: cohort name and ``input_sha256``, gene report counts, scale, bin edges
        kind and range, model name and hash, featurizer name and digest, versions, seed, notes.
    """

    rows: pd.DataFrame
    genes: pd.DataFrame
    x_deg: np.ndarray
    x_pert: np.ndarray
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.rows)

    def top_genes(self, row: int, n: int = 20) -> pd.DataFrame:
        """The `n` genes that change most in a row, largest absolute change first.

        Parameters
        ----------
        row : int
            Position of the row.
        n : int

        Returns
        -------
        DataFrame
            Index ``symbol``, columns ``x_deg``, ``x_pert``, ``measured``.
        """
        order = np.argsort(-np.abs(self.x_deg[row]), kind="stable")[:n]
        return pd.DataFrame(
            {
                "x_deg": self.x_deg[row, order],
                "x_pert": self.x_pert[row, order],
                "measured": self.genes["measured"].to_numpy()[order],
            },
            index=self.genes.index[order],
        )

    def to_anndata(self) -> Any:
        """AnnData with x_deg in ``X``, x_pert in ``layers`` and the provenance in ``uns``."""
        import anndata

        result = anndata.AnnData(
            X=self.x_deg.copy(), obs=self.rows.copy(), var=self.genes.rename_axis(None).copy()
        )
        result.layers["x_pert"] = self.x_pert.copy()
        result.uns["x_deg_unit"], result.uns["x_pert_unit"] = X_DEG_UNIT, X_PERT_UNIT
        result.uns["provenance"] = json.dumps(self.provenance)
        return result

    def save(self, path: Path | str) -> None:
        """Write as ``.h5ad`` (everything), ``.parquet`` or ``.csv`` (metadata and x_deg).

        A CSV has its provenance beside it as ``NAME.provenance.json``.

        Raises
        ------
        XPertError
            If the suffix is not known or the file cannot be written.
        """
        from xpert_core.prediction.files import save_prediction

        save_prediction(self, Path(path))
