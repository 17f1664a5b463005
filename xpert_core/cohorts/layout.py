"""Which axis holds the genes, which labels name them, and what the other labels say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xpert_core.cohorts.metadata import (
    LABEL_NAMES,
    SampleTable,
    is_metadata,
    sample_table,
    spelling,
)
from xpert_core.cohorts.table import MISSING, RawTable, looks_numeric, shown, text_error, unique_key
from xpert_core.errors import CohortError
from xpert_core.genes import resolve
from xpert_core.genes.records import GenePanel

#: Where the samples are.
ORIENTATIONS = ("auto", "rows", "columns")

#: Labels looked at to recognise an axis; enough to find a panel among 60,000 genes.
_LABELS_TRIED = 3000


@dataclass(frozen=True)
class Layout:
    """A table with samples in rows and genes in columns.

    Attributes
    ----------
    values : ndarray of float32, shape (n_samples, n_genes)
    identifiers : tuple of str
    samples : SampleTable
    notes : tuple of str
    """

    values: np.ndarray
    identifiers: tuple[str, ...]
    samples: SampleTable
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Arrangement:
    """Where samples and genes are in a table.

    Attributes
    ----------
    samples_in : {"rows", "columns"}
    rows, columns : list of int
        Rows and columns of the table that hold values.
    named : list of int
        Those of `rows` or `columns`, counted among them, whose gene has a name.
    identifiers : tuple of str
        Of the named genes.
    samples : SampleTable
    notes : tuple of str
    """

    samples_in: str
    rows: list[int]
    columns: list[int]
    named: list[int]
    identifiers: tuple[str, ...]
    samples: SampleTable
    notes: tuple[str, ...]


def lay_out(table: RawTable, panel: GenePanel, orientation: str, name: str) -> Layout:
    """Bring a table into samples x genes and read the sample labels.

    Parameters
    ----------
    table : RawTable
    panel : GenePanel
        The genes by which the gene axis is recognised.
    orientation : {"auto", "rows", "columns"}
        Where the samples are; "auto" looks for genes on both axes.
    name : str
        File name, for messages.

    Raises
    ------
    CohortError
        When no axis names genes, expression cells hold text, or samples cannot be told apart.
    """
    plan = arrange(table, text_only(table), panel, orientation, name)
    values = table.values
    if len(plan.rows) < values.shape[0] or len(plan.columns) < values.shape[1]:
        values = values[np.ix_(plan.rows, plan.columns)]
    if plan.samples_in == "columns":
        values = values.T
    if len(plan.named) < values.shape[1]:
        values = values[:, plan.named]
    return Layout(values, plan.identifiers, plan.samples, plan.notes)


def arrange(
    table: RawTable,
    text: tuple[list[int], list[int]],
    panel: GenePanel,
    orientation: str,
    name: str,
) -> Arrangement:
    """What `lay_out` decides by the labels alone; values of the table are not looked at.

    Parameters
    ----------
    table : RawTable
        Rows and columns of text become labels in it.
    text : tuple of two lists of int
        Rows and columns that hold nothing but text, as of `text_only`.
    panel, orientation, name
        As in `lay_out`.

    Raises
    ------
    CohortError
        As `lay_out`.
    """
    rows, columns = _settle_text(table, *text)
    samples_in = _samples_in(table, panel, orientation, name)
    if samples_in == "rows":
        gene_fields, sample_fields = table.column_fields, table.row_fields
        numbers, axis = table.row_numbers, "row"
        _refuse_lost_samples(table, name)
    else:
        gene_fields, sample_fields = table.row_fields, table.column_fields
        numbers, axis = table.column_numbers, "column"
    key = _gene_field(gene_fields, panel, name)
    identifiers = gene_fields[key]
    _refuse_text(table, sample_fields, identifiers, panel, numbers, axis, name)
    notes = [f"Samples are in {samples_in}" + _why(table, orientation)]
    if key and spelling(key) not in ("name", "id"):
        notes.append(f"Genes are named by the field '{key}'.")
    described = [k for k in gene_fields if k != key and k]
    if described and samples_in == "columns":
        names = ", ".join(shown(k) for k in described[:5])
        notes.append(f"Columns taken as descriptions of the genes, not as samples: {names}.")
    named = [i for i, label in enumerate(identifiers) if label]
    if len(named) < len(identifiers):
        notes.append(f"Genes without a name are left out: {len(identifiers) - len(named):,}.")
        identifiers = [identifiers[i] for i in named]
    samples = sample_table(sample_fields, numbers, name, axis)
    return Arrangement(
        samples_in, rows, columns, named, tuple(identifiers), samples, (*notes, *samples.notes)
    )


def _gene_field(fields: dict[str, list[str]], panel: GenePanel, name: str) -> str:
    """The field that names the genes: the first complete one that is about as good as the best."""
    complete = [k for k, labels in fields.items() if sum(map(bool, labels)) >= 0.8 * len(labels)]
    candidates = [k for k in complete or fields if not is_metadata(k)]
    if not candidates:
        raise CohortError(
            "The genes have no names.",
            where=name,
            fix="Name the genes with HGNC symbols, Ensembl ids or Entrez ids.",
        )
    if len(candidates) == 1:
        return candidates[0]
    hits = {k: _hits(fields[k], panel) for k in candidates}
    return next(k for k in candidates if hits[k] >= 0.9 * max(hits.values()))


def _why(table: RawTable, orientation: str) -> str:
    if orientation != "auto":
        return " (as chosen)."
    return " (as the file format says)." if table.genes_in else " (recognised by the gene names)."


def _samples_in(table: RawTable, panel: GenePanel, orientation: str, name: str) -> str:
    if orientation not in ORIENTATIONS:
        raise CohortError(
            f"The orientation '{orientation}' is not known.",
            fix=f"Use one of: {', '.join(ORIENTATIONS)} (where the samples are).",
        )
    if orientation != "auto":
        return orientation
    if table.genes_in:
        return "rows" if table.genes_in == "columns" else "columns"
    in_columns = max((_hits(c, panel) for c in _gene_names(table.column_fields)), default=0)
    in_rows = max((_hits(c, panel) for c in _gene_names(table.row_fields)), default=0)
    if not in_columns and not in_rows:
        columns, rows = (_examples(f) for f in (table.column_fields, table.row_fields))
        raise CohortError(
            "No gene was recognised, neither in the rows nor in the columns.",
            where=f"{name}; column names: {columns}; row names: {rows}",
            fix="Name the genes with HGNC symbols, Ensembl ids, Entrez ids or probe ids, one per "
            "column (or one per row).",
        )
    return "rows" if in_columns >= in_rows else "columns"


def _gene_names(fields: dict[str, list[str]]) -> list[list[str]]:
    return [labels for key, labels in fields.items() if not is_metadata(key)]


def _examples(fields: dict[str, list[str]]) -> str:
    labels = next(iter(fields.values()), [])
    return ", ".join(shown(label, 20) for label in labels[:3] if label) or "none"


def _hits(labels: Sequence[str], panel: GenePanel) -> int:
    """Panel genes among (an even selection of) the labels."""
    present = list(dict.fromkeys(label for label in labels if label))
    whole = [int(label) for label in present if label.isdecimal()]
    if len(whole) == len(present) and max(whole, default=0) <= 2 * len(present) + 10:
        return 0  # samples counted 1, 2, 3... are not Entrez ids
    step = -(-len(present) // _LABELS_TRIED) or 1
    return resolve(present[::step], panel).n_found if present else 0


def text_only(table: RawTable) -> tuple[list[int], list[int]]:
    """Rows and columns that hold nothing but text: they are labels, not expression."""
    text = table.text_cells
    if not text:
        return [], []
    blank = np.isnan(table.values)
    rows = sorted({r for r, _ in text if blank[r].all()}) if table.row_fields else []
    return rows, sorted({c for _, c in text if blank[:, c].all()})


def _settle_text(
    table: RawTable, rows: list[int], columns: list[int]
) -> tuple[list[int], list[int]]:
    """Make labels of rows and columns of text; returns the rows and columns that stay."""
    text, n_rows, n_columns = table.text_cells, len(table.row_numbers), len(table.column_numbers)
    row_labels = next(iter(table.row_fields.values()), [])
    column_labels = next(iter(table.column_fields.values()))
    for c in columns:
        key = unique_key(table.row_fields, column_labels[c])
        table.row_fields[key] = [text.get((r, c), "") for r in range(n_rows)]
    for r in rows:
        key = unique_key(table.column_fields, row_labels[r])
        table.column_fields[key] = [text.get((r, c), "") for c in range(n_columns)]
    keep_rows = _without(n_rows, rows)
    keep_columns = _without(n_columns, columns)
    if rows or columns:
        _drop_labels(table, keep_rows, keep_columns)
    return keep_rows, keep_columns


def _without(size: int, dropped: list[int]) -> list[int]:
    gone = set(dropped)
    return [i for i in range(size) if i not in gone]


def _drop_labels(table: RawTable, keep_rows: list[int], keep_columns: list[int]) -> None:
    """Remove rows and columns that became labels, keeping every position in step."""
    table.row_fields = {k: [v[r] for r in keep_rows] for k, v in table.row_fields.items()}
    table.column_fields = {k: [v[c] for c in keep_columns] for k, v in table.column_fields.items()}
    table.row_numbers = [table.row_numbers[r] for r in keep_rows]
    table.column_numbers = [table.column_numbers[c] for c in keep_columns]
    new_row = {old: new for new, old in enumerate(keep_rows)}
    new_column = {old: new for new, old in enumerate(keep_columns)}
    table.text_cells = {
        (new_row[r], new_column[c]): cell
        for (r, c), cell in table.text_cells.items()
        if r in new_row and c in new_column
    }


def _refuse_lost_samples(table: RawTable, name: str) -> None:
    """Raise when a row among samples would be taken for a description of the columns."""
    extra = list(table.column_fields)[1:]
    if extra and table.genes_in is None:
        example = next((cell for cell in table.column_fields[extra[0]] if cell), "")
        raise CohortError(
            f"The row {shown(extra[0])} holds no expression values.",
            where=f"{name}; its first cell is {shown(example)}",
            fix="Correct its cells. If it describes the columns, remove it; if it is a sample, "
            "give it a name that is not also the name of a metadata column.",
        )


def _refuse_text(
    table: RawTable,
    sample_fields: dict[str, list[str]],
    identifiers: Sequence[str],
    panel: GenePanel,
    numbers: Sequence[int],
    axis: str,
    name: str,
) -> None:
    """Raise when expression cells hold text, whether here and there or along a whole gene."""
    column_labels = next(iter(table.column_fields.values()))
    found = [
        (f"row {table.row_numbers[r]}", column_labels[c], cell)
        for (r, c), cell in table.text_cells.items()
    ]
    known = set(identifiers)
    candidates = [
        key
        for key in sample_fields
        if key not in known and not is_metadata(key) and spelling(key) not in LABEL_NAMES
    ]
    if candidates:
        report = resolve(candidates, panel).table
        for key in report.loc[report["status"] == "matched", "identifier"]:
            found += [
                (f"{axis} {number}", key, cell)
                for number, cell in zip(numbers, sample_fields[key], strict=True)
                if cell.lower() not in MISSING and not looks_numeric(cell)
            ]
    if found:
        raise text_error(name, found[:5], len(found))
