"""One result on screen: charts, tables, downloads and where the numbers come from."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from app.components import charts
from app.components.errors import guarded
from app.components.exports import changes_table, export_bar, figure_bar, file_stem
from app.components.provenance import method_sentence, provenance_panel
from app.components.response_view import response_view
from app.components.text import count, plain, without_formulas
from xpert_core.conditions import format_dose
from xpert_core.prediction import Prediction
from xpert_core.prediction.records import X_DEG_UNIT

MAX_HEAT_ROWS = 100


@st.fragment
def result_view(prediction: Prediction, run_id: str) -> None:
    """Draw a result with its downloads; its selectors redraw this part of the page only."""
    with guarded():
        _summary(prediction)
    parts = {
        "Most changed genes": partial(_most_changed, prediction, run_id),
        "All samples": partial(_all_samples, prediction, run_id),
        "Responders": partial(response_view, prediction, run_id),
        "Where it comes from": partial(_source, prediction),
    }
    # Only the open tab is computed: the map of a large cohort takes time.
    tabs = st.tabs(list(parts), key=f"view-{run_id}", on_change="rerun")
    for tab, draw in zip(tabs, parts.values(), strict=True):
        if tab.open:
            with tab, guarded():
                draw()
    st.markdown("**Download the whole result**")
    export_bar(prediction, run_id)


def _summary(prediction: Prediction) -> None:
    rows = prediction.rows
    measured = int(prediction.genes["measured"].sum())
    columns = st.columns(4)
    columns[0].metric("Predictions", f"{len(rows):,}")
    columns[1].metric("Samples", f"{rows['sample_id'].nunique():,}")
    columns[2].metric("Drugs", f"{rows['drug'].nunique():,}")
    columns[3].metric("Landmark genes measured", f"{measured} of {len(prediction.genes)}")
    st.markdown(
        f"Unit of every change: {X_DEG_UNIT}. Up means higher after treatment than before. "
        "For research use only; not for diagnosis or treatment."
    )
    least, most = int(rows["n_missing_genes"].min()), int(rows["n_missing_genes"].max())
    if most:
        span = f"{most}" if least == most else f"{least} to {most}"
        st.info(
            f"Landmark genes not measured: {span} of {len(prediction.genes)} in each sample. The "
            "model was told that they are missing; their change is inferred from the other genes. "
            "Genes that the whole cohort lacks are marked in the charts."
        )
    fallbacks = rows.loc[rows["drug_fallback"].astype(bool), ["drug", "drug_fallback"]]
    for drug, note in fallbacks.drop_duplicates().itertuples(index=False):
        st.warning(f"**{plain(drug)}**: {plain(note)}")
    for note in prediction.provenance.get("notes", ()):
        st.caption(plain(note))


def _condition_choice(rows: pd.DataFrame, key: str, *, with_sample: bool) -> pd.Series:
    """Selectors of drug, dose, time (and sample); the rows that fit them."""
    fields: list[tuple[str, str]] = [("sample_id", "Sample")] if with_sample else []
    fields += [("drug", "Drug"), ("dose_um", "Dose"), ("time_h", "Time")]
    fits = pd.Series(True, index=rows.index)
    for column, (field, label) in zip(st.columns(len(fields)), fields, strict=True):
        options = list(dict.fromkeys(rows.loc[fits, field]))
        chosen = column.selectbox(
            label, options, key=f"{key}-{field}", format_func=partial(_shown, field)
        )
        fits &= rows[field] == chosen
    return fits


def _shown(field: str, value: object) -> str:
    if field == "dose_um":
        return format_dose(float(str(value)))
    if field == "time_h":
        return f"{float(str(value)):g} h"
    return str(value)


def _condition_text(row: pd.Series) -> str:
    return f"{row['drug'][:60]}, {format_dose(row['dose_um'])}, {row['time_h']:g} h"


def _most_changed(prediction: Prediction, run_id: str) -> None:
    fits = _condition_choice(prediction.rows, f"row-{run_id}", with_sample=True)
    position = int(np.flatnonzero(fits.to_numpy())[0])
    row = prediction.rows.iloc[position]
    n_genes = st.slider("Number of genes", 10, 60, 30, step=5, key=f"n-genes-{run_id}")
    changes = charts.gene_changes(prediction, position)
    title = f"{row['sample_id']}: {_condition_text(row)}"
    chart = charts.bar_chart(changes, n_genes, title)
    charts.draw(chart)
    if (changes.head(n_genes)["measured"] == "no").any():
        st.caption(f"Hollow bars with a dashed outline: {charts.NOT_MEASURED}.")
    st.markdown("**All landmark genes, largest change first**")
    st.dataframe(
        changes,
        hide_index=True,
        height=300,
        alt=f"Predicted change of every landmark gene, {title}",
        column_config={
            "gene": st.column_config.TextColumn("Gene"),
            "entrez_id": st.column_config.NumberColumn("Entrez", format="%d"),
            "direction": st.column_config.TextColumn("Direction"),
            "x_deg": st.column_config.NumberColumn("Change (log2)", format="%+.3f"),
            "x_pert": st.column_config.NumberColumn(
                "After treatment (log2, L1000 scale)", format="%.2f"
            ),
            "measured": st.column_config.TextColumn("Measured in the cohort"),
        },
    )
    figure_bar(
        chart,
        changes_table(changes),
        f"{file_stem(prediction, run_id)}_row{position + 1}",
        "fig-genes",
    )


def _all_samples(prediction: Prediction, run_id: str) -> None:
    fits = _condition_choice(prediction.rows, f"map-{run_id}", with_sample=False)
    positions = np.flatnonzero(fits.to_numpy())
    left, right = st.columns(2)
    order = left.radio(
        "Genes to show",
        ["Most changed on average", "Most different between samples"],
        horizontal=True,
        key=f"map-order-{run_id}",
        disabled=len(positions) < 2,
    )
    n_genes = right.slider("Number of genes", 10, 80, 40, step=5, key=f"map-genes-{run_id}")
    if len(positions) > MAX_HEAT_ROWS:
        st.info(f"The first {MAX_HEAT_ROWS} of {len(positions)} samples are drawn.")
    variable = len(positions) > 1 and order.startswith("Most different")
    table = charts.heat_table(
        prediction, positions[:MAX_HEAT_ROWS], n_genes, by_variability=variable
    )
    condition = _condition_text(prediction.rows.iloc[positions[0]])
    chart = charts.heat_map(table, prediction.genes["measured"].astype(bool), condition)
    charts.draw(chart)
    st.caption(
        "Orange: higher after treatment. Blue: lower. A grey cross: no value. A ring after a "
        f"gene name: {charts.NOT_MEASURED}."
    )
    with st.expander(f"Numbers behind the map ({count(len(table), 'sample')})"):
        shown = without_formulas(table).style.format("{:+.2f}", na_rep="no value")
        st.dataframe(shown, alt=chart.description)
    figure_bar(
        chart, table.reset_index(), f"{file_stem(prediction, run_id)}_map", f"fig-map-{run_id}"
    )


def _source(prediction: Prediction) -> None:
    st.markdown("**For the methods section** (copy with the button at its right)")
    st.code(method_sentence(prediction), language=None, wrap_lines=True)
    provenance_panel(prediction)
