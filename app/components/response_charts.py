"""Charts of responders and non-responders: distributions, violins, error by size of the change."""

from __future__ import annotations

import json

import altair as alt
import numpy as np
import pandas as pd

from app.components.charts import DOWN, UP, Chart
from app.components.drug_maps import COLOURS, SHAPES
from xpert_core.explanation.response import GROUPS, NON_RESPONDER, RESPONDER

GROUP_SCALE = alt.Scale(domain=list(GROUPS), range=[DOWN, UP])
GREY = "#6B7280"


def distribution_chart(table: pd.DataFrame, title: str, unit: str) -> Chart:
    """Density of changes, one line a source and group."""
    sources = list(dict.fromkeys(table["source"]))
    dashes = alt.Scale(domain=sources, range=[[1, 0], [6, 3], [2, 2], [8, 2, 2, 2]][: len(sources)])
    line = (
        alt.Chart(table)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("x_deg:Q", title=f"Change ({unit})"),
            y=alt.Y("density:Q", title="Density"),
            color=alt.Color("group:N", scale=GROUP_SCALE, title="Group"),
            strokeDash=alt.StrokeDash("source:N", scale=dashes, title="Source"),
            tooltip=[
                alt.Tooltip("source:N", title="Source"),
                alt.Tooltip("group:N", title="Group"),
                alt.Tooltip("x_deg:Q", title="Change", format="+.2f"),
                alt.Tooltip("density:Q", title="Density", format=".3f"),
            ],
        )
    )
    first = table.drop_duplicates(["source", "group"])
    words = "; ".join(f"{r.source}, {r.group}: {r.sd:.2f}" for r in first.itertuples())
    description = (
        f"Line chart. {title}. Density of the changes of all genes and patients. Standard "
        f"deviations: {words}. The table below holds the numbers."
    )
    return alt.layer(line).properties(
        title=alt.Title(title, anchor="start"), description=description, height=320
    )


def violin_chart(table: pd.DataFrame, title: str, unit: str) -> Chart:
    """Violins side by side: genes, within them sources, within them groups."""
    placed, ticks = _placed(table)
    names = json.dumps({f"{x:.2f}": label for x, label in ticks})
    axis = alt.Axis(
        values=[x for x, _ in ticks],
        labelExpr=f"({names})[format(datum.value, '.2f')]",
        grid=False,
        labelAngle=-25,
        labelLimit=220,
        labelOverlap=False,
        ticks=False,
    )
    reach = alt.Scale(domain=[0, placed["place"].max() + 1])
    group = alt.Color("group:N", scale=GROUP_SCALE, title="Group")
    tooltip = [
        alt.Tooltip("gene:N", title="Gene"),
        alt.Tooltip("source:N", title="Source"),
        alt.Tooltip("group:N", title="Group"),
        alt.Tooltip("median:Q", title="Median", format="+.2f"),
        alt.Tooltip("patients:Q", title="Patients"),
    ]
    y = alt.Y("x_deg:Q", title=f"Change ({unit})")
    shape = (
        alt.Chart(_outlines(placed))
        .mark_line(filled=True, interpolate="linear-closed", opacity=0.8, strokeWidth=0.5)
        .encode(
            y=y,
            x=alt.X("across:Q", title=None, axis=axis, scale=reach),
            fill=alt.Fill("group:N", scale=GROUP_SCALE, title="Group"),
            stroke=alt.Stroke("group:N", scale=GROUP_SCALE, title="Group"),
            detail="violin:N",
            order="corner:Q",
            tooltip=tooltip,
        )
    )
    few = (
        alt.Chart(placed[placed["density"].isna()])
        .mark_point(filled=True, size=40)
        .encode(y=y, x=alt.X("place:Q", axis=axis), color=group, tooltip=tooltip)
    )
    single = placed.drop_duplicates("violin")
    bars = alt.Chart(single).mark_rule(color="#111111", strokeWidth=3).encode(
        x=alt.X("place:Q", axis=axis), y="low:Q", y2="high"
    )  # fmt: skip
    dots = (
        alt.Chart(single)
        .mark_point(filled=True, size=45, color="white", stroke="#111111", opacity=1)
        .encode(x=alt.X("place:Q", axis=axis), y="median:Q", tooltip=tooltip)
    )
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(
        color=GREY, strokeDash=[4, 3]
    ).encode(y="zero:Q")  # fmt: skip
    words = "; ".join(
        f"{r.gene}, {r.source}, {r.group}: median {r.median:+.2f}"
        for r in single.head(12).itertuples()
    )
    description = f"Violins. {title}. {words}. The table below holds quartiles and densities."
    return alt.layer(zero, shape, few, bars, dots).properties(
        title=alt.Title(title, anchor="start"), description=description, height=360
    )


def _placed(table: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[float, str]]]:
    """Violins at places on a line, the two groups of a source next to each other."""
    placed = table.copy()
    placed["violin"] = placed["gene"] + "|" + placed["source"] + "|" + placed["group"]
    place, at, ticks = 0.0, {}, []
    for gene in dict.fromkeys(placed["gene"]):
        for source in dict.fromkeys(placed["source"]):
            place += 1.0
            at[f"{gene}|{source}|{RESPONDER}"] = place
            at[f"{gene}|{source}|{NON_RESPONDER}"] = place + 0.9
            ticks.append((place + 0.45, f"{gene}, {source}"))
            place += 1.2
        place += 0.6
    placed["place"] = placed["violin"].map(at)
    return placed, ticks


def _outlines(placed: pd.DataFrame) -> pd.DataFrame:
    """Outline of each violin: up its right side and down its left."""
    shaped = placed[placed["density"].notna()]
    right = shaped.assign(across=shaped["place"] + 0.4 * shaped["density"])
    left = shaped.assign(across=shaped["place"] - 0.4 * shaped["density"]).iloc[::-1]
    both = pd.concat([right, left], ignore_index=True)
    return both.assign(corner=both.groupby("violin").cumcount())


def error_chart(table: pd.DataFrame, title: str) -> Chart:
    """Mean absolute error over strata of the measured change, with intervals over patients."""
    sources = list(dict.fromkeys(table["source"]))
    shown = table.assign(
        span=[
            f"{low:.2f} to {high:.2f}" for low, high in zip(table["from"], table["to"], strict=True)
        ]
    )
    order = list(dict.fromkeys(shown.sort_values("stratum")["span"]))
    base = alt.Chart(shown).encode(
        x=alt.X("span:N", sort=order, title="Absolute measured change (log2), five equal parts",
                axis=alt.Axis(labelAngle=0)),
        color=alt.Color("source:N", sort=sources, title="Prediction",
                        scale=alt.Scale(domain=sources, range=COLOURS[: len(sources)]),
                        legend=alt.Legend(labelLimit=260, orient="bottom")),
    )  # fmt: skip
    line = base.mark_line().encode(y=alt.Y("mae:Q", title="Mean absolute error (log2)"))
    bars = base.mark_rule().encode(y="low:Q", y2="high")
    points = base.mark_point(filled=True, size=70).encode(
        y="mae:Q",
        shape=alt.Shape("source:N", sort=sources, title="Prediction",
                        scale=alt.Scale(domain=sources, range=SHAPES[: len(sources)])),
        tooltip=[
            alt.Tooltip("source:N", title="Prediction"),
            alt.Tooltip("span:N", title="Measured change"),
            alt.Tooltip("mae:Q", title="Mean absolute error", format=".3f"),
            alt.Tooltip("direction:Q", title="Right sign", format=".0%"),
        ],
    )  # fmt: skip
    last = table[table["stratum"] == table["stratum"].max()]
    words = "; ".join(f"{r.source} {r.mae:.2f}" for r in last.itertuples())
    description = (
        f"Line chart. {title}. Mean absolute error by the size of the measured change; for the "
        f"largest changes: {words}. The table below holds the numbers."
    )
    return alt.layer(line, bars, points).properties(
        title=alt.Title(title, anchor="start"), description=description, height=320
    )


def difference_chart(table: pd.DataFrame, n_genes: int, title: str, unit: str) -> Chart:
    """Most changed genes: both groups' means on one line each."""
    shown = table.head(n_genes)
    names = {"mean_responder": RESPONDER, "mean_non_responder": NON_RESPONDER}
    long = shown.rename(columns=names).melt(
        id_vars="gene", value_vars=list(names.values()), var_name="group", value_name="mean"
    )
    y = alt.Y("gene:N", sort=list(shown["gene"]), title="Gene", axis=alt.Axis(labelOverlap=False))
    rule = alt.Chart(shown).mark_rule(color=GREY).encode(
        y=y, x="mean_responder:Q", x2="mean_non_responder"
    )  # fmt: skip
    points = (
        alt.Chart(long)
        .mark_point(filled=True, size=80, opacity=1)
        .encode(
            y=y,
            x=alt.X("mean:Q", title=f"Mean change ({unit})"),
            color=alt.Color("group:N", scale=GROUP_SCALE, title="Group"),
            shape=alt.Shape(
                "group:N",
                title="Group",
                scale=alt.Scale(domain=list(GROUPS), range=["circle", "square"]),
            ),
            tooltip=[
                alt.Tooltip("gene:N", title="Gene"),
                alt.Tooltip("group:N", title="Group"),
                alt.Tooltip("mean:Q", title="Mean change", format="+.3f"),
            ],
        )
    )
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(
        color=GREY, strokeDash=[4, 3]
    ).encode(x="zero:Q")  # fmt: skip
    passed = int((table["q_difference"] < 0.05).sum())
    description = (
        f"Dot plot. {title}. Mean change of both groups for the {len(shown)} most changed genes. "
        f"{passed} of {len(table)} genes differ between the groups at q below 0.05."
    )
    return alt.layer(zero, rule, points).properties(
        title=alt.Title(title, anchor="start"),
        description=description,
        height=float(np.clip(18 * len(shown), 120, 900)),
    )
