"""Charts of atom scores: heat map of atoms by samples."""

from __future__ import annotations

import altair as alt
import pandas as pd

from app.components.charts import Chart
from xpert_core.explanation.atoms import DrugAtoms

LOW, HIGH = "#FFFFFF", "#D55E00"
#: Pixels that title and axes take of the height.
AXES = 120


def atom_heat_map(matrix: pd.DataFrame, atoms: DrugAtoms, unit: str, title: str) -> Chart:
    """Heat map of a score, atoms from left to right in the order of the SMILES.

    Parameters
    ----------
    matrix : DataFrame
        Atoms x samples, as `AtomExplanation.matrix` returns.
    atoms : DrugAtoms
    unit, title : str
    """
    labels = list(atoms.table["label"])
    cells = (
        matrix.set_axis(pd.Index(labels, name="atom"), axis=0)
        .reset_index()
        .melt(id_vars="atom", var_name="sample", value_name="share")
    )
    axis = alt.Axis(labelOverlap=False, labelFlush=False, labelLimit=160)
    chart = (
        alt.Chart(cells)
        .mark_rect()
        .encode(
            x=alt.X("atom:N", sort=labels, title="Atom", axis=alt.Axis(labelAngle=-90)),
            y=alt.Y("sample:N", sort=list(matrix.columns), title="Sample", axis=axis),
            color=alt.Color(
                "share:Q",
                title=["Share of", "all atoms"],
                scale=alt.Scale(
                    domain=[0, float(matrix.to_numpy().max())],
                    range=[LOW, HIGH],
                    interpolate="rgb",
                ),
                legend=alt.Legend(format=".1%"),
            ),
            tooltip=[
                alt.Tooltip("atom:N", title="Atom"),
                alt.Tooltip("sample:N", title="Sample"),
                alt.Tooltip("share:Q", title=unit, format=".2%"),
            ],
        )
    )
    description = (
        f"Heat map. {title}. {matrix.shape[0]} atoms by {matrix.shape[1]} samples, from white "
        f"(no {unit.lower()}) to orange (most). The table below holds the means."
    )
    return alt.layer(chart).properties(
        title=alt.Title(title, anchor="start"),
        description=description,
        height=AXES + 18 * matrix.shape[1],
    )


def stability_chart(items: pd.DataFrame, title: str) -> Chart:
    """Mean attention of each atom over models, with one standard deviation.

    Parameters
    ----------
    items : DataFrame
        As `xpert_core.explanation.stability.Stability.items`.
    title : str
    """
    table = items.rename_axis("atom").reset_index()
    table["low"], table["high"] = table["mean"] - table["sd"], table["mean"] + table["sd"]
    base = alt.Chart(table).encode(
        x=alt.X("atom:N", sort=list(table["atom"]), title="Atom", axis=alt.Axis(labelAngle=-90))
    )
    bars = base.mark_rule(strokeWidth=2, color="#8A8F94").encode(
        y=alt.Y("low:Q", title="Attention, share of all atoms"), y2="high:Q"
    )
    points = base.mark_point(filled=True, size=50, color="#0072B2", opacity=1).encode(
        y="mean:Q",
        tooltip=[
            alt.Tooltip("atom:N", title="Atom"),
            alt.Tooltip("mean:Q", title="Mean", format=".2%"),
            alt.Tooltip("cv:Q", title="SD / mean", format=".2f"),
        ],
    )
    first = table.loc[table["mean"].idxmax()]
    description = (
        f"Points with bars. {title}, of {len(table)} atoms with one standard deviation. Highest: "
        f"{first['atom']}, {first['mean']:.1%}. The table below holds the numbers."
    )
    return alt.layer(bars, points).properties(
        title=alt.Title(title, anchor="start"), description=description, height=320
    )
