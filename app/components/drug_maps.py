"""Maps of the drugs in chemical and biological space, and how well mechanisms agree in each."""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from app.components.charts import Chart
from xpert_core.errors import DataError
from xpert_core.paths import assets_dir

#: Mechanisms that get a colour: the most frequent ones that the eye can still tell apart.
COLOURED = 8
OTHER = "another mechanism"
#: Okabe-Ito, apart for every kind of colour vision; each mechanism has a shape of its own too.
COLOURS = [
    "#E69F00", "#56B4E9", "#009E73", "#D5C711", "#0072B2", "#D55E00", "#CC79A7", "#8A5A2B",
]  # fmt: skip
SHAPES = [
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "circle",
    "square",
]
SPACES = {
    "biological": "Knowledge graph",
    "biological, targets withheld": "Knowledge graph, own targets withheld when embedding",
    "untrained": "Knowledge graph, untrained encoder",
    "untrained, targets withheld": "Knowledge graph, untrained encoder, own targets withheld",
    "chemical, AIMNet2": "Structure encoder (AIMNet2)",
    "chemical, Morgan": "Fingerprints (Morgan, Tanimoto)",
    "chance": "Chance",
}


@st.cache_data(show_spinner=False)
def _points() -> pd.DataFrame:
    path = assets_dir() / "graph" / "maps.parquet"
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(
            "The maps of the drugs are missing or damaged.",
            where=f"{path.name} ({type(error).__name__})",
            fix="Install the program again, or run training/prepare_graph_maps.py.",
        ) from error
    first = table["moa"].str.split("|").str[0]
    frequent = list(first.value_counts().index[:COLOURED])
    return table.assign(mechanism=first.where(first.isin(frequent), OTHER))


def map_points(chosen: str = "") -> pd.DataFrame:
    """Drugs with their coordinates; `chosen` is the key of a drug to ring.

    Returns
    -------
    DataFrame
        Columns ``key``, ``name``, ``moa``, ``mechanism``, ``chosen`` and, for both spaces,
        ``chemical_x`` and so on.
    """
    points = _points()
    return points.assign(chosen=points["key"] == chosen)


def drug_map(points: pd.DataFrame, space: str, title: str) -> Chart:
    """Scatter plot of one space, ``"chemical"`` or ``"biological"``."""
    named = [m for m in points["mechanism"].value_counts().index if m != OTHER]
    base = alt.Chart(points).encode(
        x=alt.X(f"{space}_x:Q", axis=None),
        y=alt.Y(f"{space}_y:Q", axis=None),
        tooltip=[alt.Tooltip("name:N", title="Drug"), alt.Tooltip("moa:N", title="Mechanism")],
    )
    grey = base.transform_filter(f"datum.mechanism == '{OTHER}'").mark_point(
        filled=True, color="#9AA0A6", opacity=0.35, size=10
    )
    coloured = (
        base.transform_filter(f"datum.mechanism != '{OTHER}'")
        .mark_point(filled=True, size=38, opacity=0.9)
        .encode(
            color=alt.Color(
                "mechanism:N",
                title="Mechanism",
                scale=alt.Scale(domain=named, range=COLOURS[: len(named)]),
                legend=alt.Legend(orient="bottom", columns=2, labelLimit=190, title=None),
            ),
            shape=alt.Shape(
                "mechanism:N", scale=alt.Scale(domain=named, range=SHAPES[: len(named)])
            ),
        )
    )
    ringed = base.transform_filter("datum.chosen")
    ring = ringed.mark_point(size=260, strokeWidth=3, color="#D55E00", filled=False)
    label = ringed.mark_text(dy=-16, fontWeight="bold").encode(text="name:N")
    description = (
        f"Scatter plot. {title}. {len(points)} drugs, the {len(named)} most frequent mechanisms "
        "in colours and shapes. The table below holds how well mechanisms agree."
    )
    return alt.layer(grey, coloured, ring, label).properties(
        title=alt.Title(title, anchor="start"), description=description, height=480
    )


def agreement_table() -> None:
    """Share of the ten nearest drugs that share a mechanism, in each space."""
    path = assets_dir() / "graph" / "report.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["mechanism"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            "The scores of the knowledge graph are missing or damaged.",
            where=path.name,
            fix="Install the program again.",
        ) from error
    _agreement(found, "Agreement in mechanism of the ten nearest drugs in each space")
    unseen = found.get("held-out drugs")
    if unseen:
        better = unseen["biological minus chemical, Morgan"]["low"] > 0
        verdict = "" if better else " Here the graph is not measurably better than a fingerprint."
        st.caption(
            f"Below, the same for the {unseen['biological']['drugs']} drugs whose targets the "
            "graph's encoder never saw and is not told, as for a compound that nobody has studied."
            + verdict
        )
        _agreement(unseen, "Agreement in mechanism for drugs that the encoder knows by structure")


def _agreement(found: dict[str, Any], alt: str) -> None:
    rows = [
        (label, found[space]["mean"], f"{found[space]['low']:.3f} to {found[space]['high']:.3f}")
        for space, label in SPACES.items()
        if space in found
    ]
    st.dataframe(
        pd.DataFrame(rows, columns=["Space", "Agreement", "95 % interval"]),
        hide_index=True,
        alt=alt,
        column_config={
            "Agreement": st.column_config.NumberColumn(
                "Same mechanism among the ten nearest",
                format="%.3f",
                help="Mean over mechanisms; the interval is a bootstrap over mechanisms.",
            )
        },
    )
