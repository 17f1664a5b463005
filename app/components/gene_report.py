"""The gene report: what became of every identifier of the file."""

from __future__ import annotations

import streamlit as st

from app.components.exports import csv_bytes, download
from app.components.text import slug, without_formulas
from xpert_core.genes.records import STATUSES, GeneReport

MEANING = {
    "matched": "The identifier names a landmark gene.",
    "alias repaired": "An older or alternative name, translated to the current symbol.",
    "date repaired": "A gene name that a spreadsheet had turned into a date, restored.",
    "ambiguous": "The name fits several genes; it is not used.",
    "duplicate": "A second column for a gene that has one already; it is not used.",
    "extra": "Not a landmark gene; the model does not need it.",
    "missing": "A landmark gene the file does not have; the model is told that it is missing.",
}


def gene_report(report: GeneReport, name: str) -> None:
    """Draw counts, a table that can be filtered, and its download."""
    counts = report.table["status"].value_counts()
    share = 100 * report.fraction_found
    st.progress(
        report.fraction_found,
        f"{report.n_found} of {report.panel_size} landmark genes found ({share:.1f} %). "
        "At least 50 % are needed.",
    )
    columns = st.columns(len(STATUSES))
    for column, status in zip(columns, STATUSES, strict=True):
        value = int(counts.get(status, 0))
        column.metric(status.capitalize(), f"{value:,}", help=MEANING[status])
    present = [status for status in STATUSES if counts.get(status, 0)]
    usual = [status for status in present if status not in ("matched", "extra")] or present
    shown = st.pills(
        "Show identifiers that are",
        present,
        selection_mode="multi",
        default=usual,
        format_func=str.capitalize,
        key="gene-report-filter",
    )
    table = report.table[report.table["status"].isin(shown)]
    st.dataframe(
        without_formulas(table),
        hide_index=True,
        height=280,
        alt="Gene report: every identifier with its status, landmark gene and note",
        placeholder="Choose at least one group above.",
        column_config={
            "identifier": st.column_config.TextColumn("In the file"),
            "status": st.column_config.TextColumn("Status"),
            "symbol": st.column_config.TextColumn("Landmark gene"),
            "entrez_id": st.column_config.NumberColumn("Entrez", format="%d"),
            "kind": st.column_config.TextColumn("Read as"),
            "note": st.column_config.TextColumn("Note", width="large"),
        },
    )
    download(
        "Download the whole gene report (CSV)",
        lambda: csv_bytes(report.table),
        f"gene-report_{slug(name)}.csv",
        key="gene-report",
        wide=False,
    )
