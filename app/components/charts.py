"""Charts of predicted changes: colours safe for colour-blind readers, never colour alone."""

from __future__ import annotations

from typing import TypeAlias

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from xpert_core.prediction.records import X_DEG_UNIT, Prediction

#: Text colours of .streamlit/config.toml.
LIGHT_INK, DARK_INK = "#0B1118", "#E8EEF4"

Chart: TypeAlias = alt.LayerChart | alt.FacetChart

#: Vermilion and blue of the Okabe-Ito palette: apart for every kind of colour vision.
UP, DOWN, NEUTRAL, MISSING = "#D55E00", "#0072B2", "#F7F7F7", "#8A8F94"
AXIS_TITLE = f"Predicted change ({X_DEG_UNIT})"
NOT_MEASURED = "not measured in the cohort"


def gene_changes(prediction: Prediction, row: int) -> pd.DataFrame:
    """All panel genes of one prediction, largest absolute change first.

    Returns
    -------
    DataFrame
        Columns ``gene``, ``entrez_id``, ``direction`` (up, down, none), ``x_deg``, ``x_pert``,
        ``measured`` (yes, no).
    """
    change = prediction.x_deg[row].astype(float)
    genes = prediction.genes
    table = pd.DataFrame(
        {
            "gene": genes.index.to_numpy(),
            "entrez_id": genes["entrez_id"].to_numpy(),
            "direction": np.select([change > 0, change < 0], ["up", "down"], "none"),
            "x_deg": change,
            "x_pert": prediction.x_pert[row].astype(float),
            "measured": np.where(genes["measured"].to_numpy(dtype=bool), "yes", "no"),
        }
    )
    order = np.argsort(-np.abs(change), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def bar_chart(changes: pd.DataFrame, n_genes: int, title: str) -> Chart:
    """Bars of the `n_genes` largest changes, up above down; hollow where not measured."""
    shown = changes.head(n_genes).sort_values("x_deg", ascending=False).copy()
    shown["change"] = shown["x_deg"].map("{:+.2f}".format)
    up = int((shown["x_deg"] > 0).sum())
    down = int((shown["x_deg"] < 0).sum())
    reach = float(shown["x_deg"].abs().max() or 1.0) * 1.25
    base = alt.Chart(shown).encode(
        y=alt.Y(
            "gene:N",
            sort=list(shown["gene"]),
            title="Gene",
            axis=alt.Axis(labelLimit=140, labelOverlap=False, labelFlush=False),
        ),
        x=alt.X("x_deg:Q", title=AXIS_TITLE, scale=alt.Scale(domain=[-reach, reach])),
        tooltip=[
            alt.Tooltip("gene:N", title="Gene"),
            alt.Tooltip("change:N", title="Change, log2"),
            alt.Tooltip("x_pert:Q", title="After treatment, log2 on the L1000 scale", format=".2f"),
            alt.Tooltip("measured:N", title="Measured in the cohort"),
        ],
    )
    direction = alt.Scale(domain=["up", "down"], range=[UP, DOWN])
    bars = base.mark_bar(strokeWidth=1.5).encode(
        fill=alt.Fill("direction:N", scale=direction, title="Direction"),
        stroke=alt.Stroke("direction:N", scale=direction, title="Direction"),
        fillOpacity=alt.condition("datum.measured == 'no'", alt.value(0.12), alt.value(1.0)),
        strokeDash=alt.condition("datum.measured == 'no'", alt.value([3, 2]), alt.value([1, 0])),
    )
    beyond_bar = base.transform_filter("datum.x_deg >= 0").mark_text(align="left", dx=4)
    before_bar = base.transform_filter("datum.x_deg < 0").mark_text(align="right", dx=-4)
    numbers = [layer.encode(text="change:N") for layer in (beyond_bar, before_bar)]
    description = (
        f"Bar chart. {title}. {up} genes predicted up and {down} predicted down, the "
        f"{len(shown)} largest changes. Unit: {X_DEG_UNIT}. The table below holds the numbers."
    )
    return alt.layer(bars, *numbers).properties(
        title=alt.Title(title, anchor="start"),
        description=description,
        height=max(180, 19 * len(shown)),
    )


def draw(chart: Chart) -> None:
    """Put a chart on the page with axis text of full contrast in both themes."""
    ink = DARK_INK if st.context.theme.type == "dark" else LIGHT_INK
    st.altair_chart(
        chart.configure_axis(labelColor=ink, titleColor=ink)
        .configure_legend(labelColor=ink, titleColor=ink)
        .configure_text(color=ink)
    )


def heat_table(
    prediction: Prediction, rows: np.ndarray, n_genes: int, *, by_variability: bool
) -> pd.DataFrame:
    """Patients x genes, the `n_genes` most changed (or most variable) genes of `rows`.

    Returns
    -------
    DataFrame
        Index sample id, columns gene symbols ordered from up to down by their mean; NaN where
        there is no value.
    """
    values = prediction.x_deg[rows].astype(float)
    known = np.ma.masked_invalid(values)
    spread = known.std(axis=0) if by_variability else np.abs(known).mean(axis=0)
    chosen = np.argsort(-spread.filled(0.0), kind="stable")[:n_genes]
    chosen = chosen[np.argsort(-known[:, chosen].mean(axis=0).filled(0.0), kind="stable")]
    return pd.DataFrame(
        values[:, chosen],
        index=pd.Index(prediction.rows["sample_id"].iloc[rows].astype(str), name="sample"),
        columns=pd.Index(prediction.genes.index[chosen], name="gene"),
    )


def heat_map(table: pd.DataFrame, measured: pd.Series, title: str) -> Chart:
    """Heat map of `table`; genes the cohort lacks carry a ring, empty cells are grey crosses.

    Parameters
    ----------
    table : DataFrame
        As `heat_table` returns.
    measured : Series of bool
        By gene symbol.
    """
    names = {gene: gene if measured[gene] else f"{gene} ○" for gene in table.columns}
    cells = (
        table.rename(columns=names)
        .reset_index()
        .melt(id_vars="sample", var_name="gene", value_name="x_deg")
    )
    cells["measured"] = np.where(cells["gene"].str.endswith(" ○"), "no", "yes")
    reach = float(np.nanmax(np.abs(table.to_numpy()))) if table.size else 1.0
    base = alt.Chart(cells).encode(
        x=alt.X(
            "gene:N",
            sort=list(names.values()),
            title="Gene",
            axis=alt.Axis(labelAngle=-90, labelLimit=140, labelOverlap=False, labelFlush=False),
        ),
        y=alt.Y(
            "sample:N",
            sort=list(table.index),
            title="Sample",
            axis=alt.Axis(labelLimit=160, labelOverlap=False, labelFlush=False),
        ),
        tooltip=[
            alt.Tooltip("sample:N", title="Sample"),
            alt.Tooltip("gene:N", title="Gene"),
            alt.Tooltip("x_deg:Q", title="Change, log2", format="+.2f"),
            alt.Tooltip("measured:N", title="Measured in the cohort"),
        ],
    )
    colour = alt.Color(
        "x_deg:Q",
        title=["Change", "(log2)"],
        scale=alt.Scale(domain=[-reach, 0, reach], range=[DOWN, NEUTRAL, UP]),
    )
    present = base.transform_filter("isValid(datum.x_deg)").mark_rect().encode(color=colour)
    absent = base.transform_filter("!isValid(datum.x_deg)")
    layers = [
        present,
        absent.mark_rect(color=MISSING),
        absent.mark_text(text="×", color="white", fontSize=12),
    ]
    description = (
        f"Heat map. {title}. {table.shape[0]} samples by {table.shape[1]} genes, from blue "
        f"(down) through white (no change) to orange (up). Unit: {X_DEG_UNIT}. A ring marks "
        f"genes {NOT_MEASURED}. The table below holds the numbers."
    )
    return alt.layer(*layers).properties(
        title=alt.Title(title, anchor="start"),
        description=description,
        height=max(120, 17 * table.shape[0]),
    )
