"""Records of gene identity: the panel a model speaks and the report of a resolution."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

#: Order in which outcomes are counted and shown.
STATUSES = (
    "matched",
    "alias repaired",
    "date repaired",
    "ambiguous",
    "duplicate",
    "extra",
    "missing",
)


@dataclass(frozen=True)
class GenePanel:
    """An ordered gene set: what a column of the model's input and output means.

    Attributes
    ----------
    name : str
        For instance ``"l1000"``.
    symbols : tuple of str
        Symbols in the order of the model's gene tokens (published order for L1000).
    entrez : tuple of int
        Entrez Gene ids, same order: the stable key.
    ensembl : tuple of str
        Ensembl gene ids without version, same order; "" where unknown.
    digest : str
        SHA-256 over name order and Entrez ids; stored in every checkpoint and result.
    """

    name: str
    symbols: tuple[str, ...]
    entrez: tuple[int, ...]
    ensembl: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.symbols)


@dataclass(frozen=True)
class GeneReport:
    """What became of every identifier of a file and every gene of the panel.

    Attributes
    ----------
    table : DataFrame
        One row per identifier of the file plus one per missing panel gene. Columns ``identifier``
        (as in the file, "" for missing genes), ``status`` (one of `STATUSES`), ``symbol`` (panel
        symbol or ""), ``entrez_id`` (Int64), ``kind`` (symbol, alias, ensembl, entrez, probe,
        date), ``note`` (a sentence).
    column_of_gene : ndarray of int64, shape (len(panel),)
        Column of the file chosen for each panel gene, -1 where the gene is missing.
    panel_size : int
        Number of genes in the panel.
    """

    table: pd.DataFrame
    column_of_gene: np.ndarray
    panel_size: int
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def n_found(self) -> int:
        """Number of panel genes that have a column in the file."""
        return int((self.column_of_gene >= 0).sum())

    @property
    def fraction_found(self) -> float:
        """Share of the panel found, 0 to 1."""
        return self.n_found / self.panel_size if self.panel_size else 0.0
