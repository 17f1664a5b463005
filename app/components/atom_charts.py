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
