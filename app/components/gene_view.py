"""Gene attention of the patients compared: how much each gene receives, and how far they differ."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from app import keys
from app.components.charts import Chart
from app.components.figures import figure
from app.components.text import count
from xpert_core.explanation.genes import MEANING, GeneAttention, gene_stability, gene_summary
from xpert_core.explanation.resistance import Material

MEAN_OF_LAYERS = "mean of all layers"
#: Genes that carry their names: those of highest attention.
N_LABELS = 12
#: Blue of the Okabe-Ito palette and a grey seen on both grounds.
MEASURED, NOT_MEASURED = "#0072B2", "#8A8F94"


def gene_view(material: Material) -> None:
    """Draw the attention of the trained network to each gene, beside its variability."""
    attention = material.trained
    left, right = st.columns(2)
    kind = left.selectbox("Attention", attention.kinds, key=keys.GENE_KIND)
    layers = attention.layers[kind]
    options = [MEAN_OF_LAYERS, *layers] if len(layers) > 1 else list(layers)
    chosen = right.selectbox("Layer", options, key=f"{keys.GENE_LAYER}-{kind}")
    layer = None if chosen == MEAN_OF_LAYERS else chosen
    table = gene_summary(attention, kind, layer)
    agreed = gene_stability([attention, material.untrained[0]], kind, layer).mean_spearman
    figure(
        gene_chart(table, f"{kind}, {chosen}"),
        _with_units(table),
        f"Each point is a gene: {MEANING[kind]}; mean over {count(len(attention), 'sample')}, "
        f"against its variability over them (median {table['cv'].median():.1%} of the mean). A "
        "gene of high attention and low variability is read alike in every patient: that is a "
        "habit of the network, not a property of a patient. The rank correlation of the means "
        f"with those of an untrained network is {agreed:.2f}. The figure does not show which gene "
        "matters for a response.",
        name=f"gene-attention-{kind}",
        about=_about(attention),
        digits=5,
    )


def gene_chart(table: pd.DataFrame, title: str) -> Chart:
    """Mean attention of each gene against its coefficient of variation over samples.

    Parameters
    ----------
    table : DataFrame
        As `xpert_core.explanation.genes.gene_summary` returns.
    title : str
    """
    names = ["measured", "not measured in this cohort"]
    points = table.reset_index(names="gene")
    points["state"] = points["measured"].map({True: names[0], False: names[1]})
    points["labelled"] = points.index < N_LABELS
    base = alt.Chart(points).encode(
        x=alt.X(
            "times_uniform:Q",
            title="Mean attention, in multiples of an equal share",
            scale=alt.Scale(zero=False),
        ),
        y=alt.Y("cv:Q", title="SD over samples / mean"),
    )
    dots = base.mark_point(filled=True, size=30, opacity=0.7).encode(
        color=alt.Color(
            "state:N",
            scale=alt.Scale(domain=names, range=[MEASURED, NOT_MEASURED]),
            legend=alt.Legend(title=None, orient="bottom"),
        ),
        shape=alt.Shape(
            "state:N", scale=alt.Scale(domain=names, range=["circle", "cross"]), legend=None
        ),
        tooltip=[
            alt.Tooltip("gene:N", title="Gene"),
            alt.Tooltip("times_uniform:Q", title="Times an equal share", format=".2f"),
            alt.Tooltip("cv:Q", title="SD / mean", format=".1%"),
            alt.Tooltip("state:N", title="State"),
        ],
    )
    labels = (
        base.transform_filter("datum.labelled")
        .mark_text(align="left", dx=6, dy=-5, fontSize=11)
        .encode(text="gene:N")
    )
    first = points.iloc[0]
    description = (
        f"Scatter plot. Gene attention, {title}. {len(points)} genes, mean attention against its "
        f"variability over samples. Highest: {first['gene']}, {first['times_uniform']:.2f} times "
        f"an equal share. The {N_LABELS} highest genes carry their names. The table below holds "
        "the numbers."
    )
    return alt.layer(dots, labels).properties(
        title=alt.Title(f"Gene attention: {title}", anchor="start"),
        description=description,
        height=480,
    )


def _with_units(table: pd.DataFrame) -> pd.DataFrame:
    return table.reset_index(names="gene").rename(
        columns={
            "mean": "mean (share of attention)",
            "sd": "sd (share of attention)",
            "cv": "cv (sd / mean)",
            "times_uniform": "times an equal share",
        }
    )


def _about(attention: GeneAttention) -> str:
    about = attention.provenance
    return f"{about['cohort']}_{about['model_name']}"
