"""Axes of expression matrices: samples found in a sheet too, columns that name panel genes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from xpert_core.cohorts.profiles import MINIMUM_FRACTION
from xpert_core.errors import DataError
from xpert_core.genes import load_panel, resolve
from xpert_core.preparation.records import Counts, names_of
from xpert_core.preparation.sheets import refuse_repeats


def align(sheet: pd.DataFrame, samples: Sequence[str], counts: Counts, where: str) -> pd.DataFrame:
    """Rows of a sheet whose ``sample`` is in the matrix, with its ``position`` there.

    Raises
    ------
    DataError
        When a sample id repeats on either side, or no sample is on both.
    """
    refuse_repeats(sheet["sample"], "sample ids", f"{where}, column sample")
    names = pd.Index([str(s) for s in samples])
    refuse_repeats(names.to_series(), "sample ids", "expression matrix")
    counts.add("samples of the sheet", len(sheet))
    position = names.get_indexer(pd.Index(sheet["sample"]))
    found = counts.keep(
        sheet.assign(position=position), position >= 0, "in the sheet but not in the matrix"
    )
    counts.add("left out: in the matrix but not in the sheet", len(names) - len(found))
    if found.empty:
        raise DataError(
            "No sample of the sheet is in the matrix.",
            where=f"the sheet has {names_of(sheet['sample'])}; the matrix {names_of(names)}",
            fix="Write the samples in the sheet as the matrix names them.",
        )
    return found


def refuse_few(found: int, name: str, identifiers: Sequence[str]) -> None:
    """Refuse fewer than half of the panel.

    Raises
    ------
    DataError
        With the first identifiers of the file.
    """
    size = len(load_panel())
    if found < MINIMUM_FRACTION * size:
        raise DataError(
            f"Only {found} of the {size} landmark genes are in the file.",
            where=f"{name}: its genes begin with {names_of(identifiers)}",
            fix="Give the whole matrix, with symbols, Entrez, Ensembl or probe ids.",
        )


def averaged(values: np.ndarray, gene_of: np.ndarray) -> np.ndarray:
    """Mean over the columns of each panel gene; float32, shape (n, G), NaN where there is none.

    Parameters
    ----------
    values : ndarray of float32, shape (n, columns)
        NaN where missing: such cells are left out of the mean.
    gene_of : ndarray of int64, shape (columns,)
        Gene of each column.
    """
    size = len(load_panel())
    sums, count = np.zeros((size, len(values))), np.zeros((size, len(values)))
    np.add.at(sums, gene_of, np.nan_to_num(values).T)
    np.add.at(count, gene_of, ~np.isnan(values).T)
    with np.errstate(invalid="ignore"):
        found: np.ndarray = np.where(count > 0, sums / count, np.nan)
    return found.T.astype(np.float32)


def genes_of_columns(identifiers: Sequence[str], counts: Counts) -> tuple[np.ndarray, int]:
    """Panel gene of each column, -1 for none; and how many genes are found.

    Several probes of a gene are all taken; of other repeated identifiers the most direct is (see
    `xpert_core.genes.resolve`).
    """
    panel = load_panel()
    report = resolve(identifiers, panel)
    gene_of = np.full(len(identifiers), -1, dtype=np.int64)
    found = np.flatnonzero(report.column_of_gene >= 0)
    gene_of[report.column_of_gene[found]] = found
    own = report.table.iloc[: len(identifiers)]
    place = {symbol: gene for gene, symbol in enumerate(panel.symbols)}
    is_probe = (own["kind"] == "probe").to_numpy()
    for column in np.flatnonzero(is_probe & (own["symbol"] != "").to_numpy()):
        gene = place[own["symbol"].iloc[column]]
        # A column that names the gene itself stands alone.
        if is_probe[report.column_of_gene[gene]]:
            gene_of[column] = gene
    used = gene_of[gene_of >= 0]
    several = np.bincount(used, minlength=len(panel)) > 1
    counts.add("landmark genes found", len(found))
    if several.any():
        counts.add("landmark genes with several probes, averaged", int(several.sum()))
    repeated = int((own["status"] == "duplicate").sum()) - (len(used) - len(np.unique(used)))
    if repeated:
        counts.add("columns left out: another names the same gene more directly", repeated)
    return gene_of, len(found)
