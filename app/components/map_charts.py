"""Charts of the Maps page: points in two dimensions, scores beside their nulls."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.components.charts import UP, Chart
from app.components.drug_maps import COLOURED, COLOURS, OTHER, SHAPES
from xpert_core.explanation.maps import EmbeddingMap, MapScores

NOT_KNOWN = "not known"
METHOD_NAMES = {"umap": "UMAP", "t-sne": "t-SNE"}


def map_points(found: EmbeddingMap, label: str) -> pd.DataFrame:
    """Points with their shown group: the most frequent ones have a colour and a shape."""
    names = found.points[label].astype(str).replace("", NOT_KNOWN)
    counts = names[names != NOT_KNOWN].value_counts()
    frequent = list(counts.index[:COLOURED])
    other = f"{len(counts) - len(frequent)} other values" if len(counts) > COLOURED else OTHER
    shown = names.where(names.isin([*frequent, NOT_KNOWN]), other)
    return found.points.assign(group=shown, value=names).rename_axis("id").reset_index()


def map_chart(found: EmbeddingMap, label: str, title: str) -> Chart:
    """Scatter plot coloured by a label; what is not known, or rare, is grey."""
    points = map_points(found, label)
    counts = points["group"].value_counts()
    plain = [g for g in counts.index if g == NOT_KNOWN or g.endswith((OTHER, "other values"))]
    named = [group for group in counts.index if group not in plain]
    tooltip = [alt.Tooltip("id:N", title="Point"), alt.Tooltip("value:N", title=label)]
    tooltip += [
        alt.Tooltip(f"{column}:N", title=column)
        for column in found.points.columns
        if column not in ("x", "y", label)
    ][:6]
    base = alt.Chart(points).encode(
        x=alt.X("x:Q", axis=None, scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False)),
        tooltip=tooltip,
    )
    grey = base.transform_filter(alt.FieldOneOfPredicate("group", plain)).mark_point(
        filled=True, color="#9AA0A6", opacity=0.45, size=22
    )
    size = 46 if len(points) < 600 else 24
    coloured = (
        base.transform_filter(alt.FieldOneOfPredicate("group", named))
        .mark_point(filled=True, opacity=0.85, size=size)
        .encode(
            color=alt.Color(
                "group:N",
                sort=named,
                scale=alt.Scale(domain=named, range=COLOURS[: len(named)]),
                legend=alt.Legend(orient="bottom", columns=3, labelLimit=230, title=label),
            ),
            shape=alt.Shape(
                "group:N",
                sort=named,
                title=label,
                scale=alt.Scale(domain=named, range=SHAPES[: len(named)]),
            ),
        )
    )
    greys = f" In grey: {', '.join(plain)}." if plain else ""
    description = (
        f"Scatter plot, {METHOD_NAMES[found.method]}. {title}. {len(points)} points, "
        f"{len(named)} groups of {label} in colours and shapes.{greys} The tables below hold the "
        "coordinates and how well the groups mix or separate."
    )
    return alt.layer(grey, coloured).properties(
        title=alt.Title(title, anchor="start"), description=description, height=520
    )


def score_chart(found: MapScores) -> Chart:
    """Each score beside the range that permuted labels give."""
    base = alt.Chart(found.table).encode(
        y=alt.Y("score:N", sort=list(found.table["score"]), title=None,
                axis=alt.Axis(labelLimit=260, labelOverlap=False)),
    )  # fmt: skip
    null = base.mark_bar(color="#9AA0A6", height=14, opacity=0.7).encode(
        x=alt.X("null_low:Q", title="Score; the grey bar is the range of permuted labels"),
        x2="null_high",
    )
    value = base.mark_point(filled=True, size=110, color=UP, shape="diamond", opacity=1).encode(
        x="value:Q",
        tooltip=[
            alt.Tooltip("score:N", title="Score"),
            alt.Tooltip("value:Q", title="Value", format=".3f"),
            alt.Tooltip("null:Q", title="Null", format=".3f"),
            alt.Tooltip("p:Q", title="p", format=".3f"),
        ],
    )
    first = found.table.iloc[0]
    description = (
        f"Scores of {found.label}, {found.kind}. {first['score']}: {first['value']:.2f}, permuted "
        f"labels {first['null']:.2f}. The table below holds all scores."
    )
    return alt.layer(null, value).properties(
        title=alt.Title(f"{found.kind.capitalize()} of {found.label}", anchor="start"),
        description=description,
        height=200,
    )
