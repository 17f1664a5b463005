"""Figures of maps and responses as SVG, beside the tables; altair and vl-convert draw them."""

from __future__ import annotations

import importlib.util
from typing import Any

import pandas as pd

from xpert_core.explanation.maps import EmbeddingMap
from xpert_core.explanation.response import GROUPS

#: Colours of the Okabe-Ito palette that are seen on white; blue and vermilion for two groups.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#8A8F94"
NOT_KNOWN, OTHER = "not known", "other values"
WIDTH = 560


def can_draw() -> bool:
    """Whether the libraries that draw are installed (extra ``app``)."""
    return all(importlib.util.find_spec(name) for name in ("altair", "vl_convert"))


def svg(chart: Any) -> str:
    """An altair chart on white ground."""
    import vl_convert

    found: str = vl_convert.vegalite_to_svg(chart.configure(background="white").to_dict())
    return found


def map_figure(found: EmbeddingMap, label: str) -> str:
    """Points of a map, the most frequent values of a label in colours and shapes."""
    import altair as alt

    values = found.points[label].astype(str).replace("", NOT_KNOWN)
    named = list(values[values != NOT_KNOWN].value_counts().index[: len(COLOURS)])
    shown = values.where(values.isin([*named, NOT_KNOWN]), OTHER)
    order = [*named, *(name for name in (OTHER, NOT_KNOWN) if (shown == name).any())]
    colours = [*COLOURS[: len(named)], *[GREY] * (len(order) - len(named))]
    table = found.points[["x", "y"]].assign(group=shown)
    title = f"{found.name}, {found.method}, {len(table)} points"
    chart = (
        alt.Chart(table)
        .mark_point(filled=True, opacity=0.75, size=26)
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False)),
            color=alt.Color("group:N", title=label, scale=alt.Scale(domain=order, range=colours)),
            shape=alt.Shape("group:N", title=label, scale=alt.Scale(domain=order)),
        )
        .properties(title=title, width=WIDTH, height=420, description=f"Scatter plot. {title}.")
    )
    return svg(chart)


def distribution_figure(table: pd.DataFrame, unit: str) -> str:
    """Density of the changes by source and group, of `response.distribution`."""
    import altair as alt

    chart = (
        alt.Chart(table)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("x_deg:Q", title=f"Change ({unit})"),
            y=alt.Y("density:Q", title="Density"),
            color=_group(),
            strokeDash=alt.StrokeDash("source:N", title="Source", sort=None),
        )
        .properties(
            title="Changes of all genes and patients", width=WIDTH, height=300,
            description="Line chart. Density of the changes of all genes and patients.",
        )
    )  # fmt: skip
    return svg(chart)


def violin_figure(table: pd.DataFrame, unit: str) -> str:
    """Density of single genes over patients, of `response.violins`: a row a gene and source."""
    import altair as alt

    base = alt.Chart(table).encode(x=alt.X("x_deg:Q", title=f"Change ({unit})"), color=_group())
    density = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("density:Q", title=None, axis=alt.Axis(labels=False, ticks=False))
    )
    median = base.mark_rule(strokeDash=[4, 3]).encode(x="median:Q")
    chart = (
        alt.layer(density, median)
        .properties(width=WIDTH // 2, height=70)
        .facet(
            row=alt.Row("gene:N", sort=None, title=None),
            column=alt.Column("source:N", sort=None, title=None),
        )
        .properties(
            title="Changes over patients; dashes: medians",
            description="Density of the change of single genes over patients, by group.",
        )
    )
    return svg(chart)


def _group() -> Any:
    import altair as alt

    return alt.Color(
        "group:N", title="Group", scale=alt.Scale(domain=list(GROUPS), range=list(COLOURS[:2]))
    )
