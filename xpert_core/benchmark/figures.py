"""Figures of the report, as HTML that carries its own scripts."""

from __future__ import annotations

import altair as alt
import pandas as pd

from xpert_core.benchmark.tables import unit_of

COLOUR = "#0072B2"


def figures(intervals: pd.DataFrame, rows: pd.DataFrame) -> str:
    """PCC with intervals, and its spread over drugs or cell lines, for each scenario."""
    panels: list[alt.HConcatChart] = []
    for (scenario, readout), place in intervals.groupby(["scenario", "readout"], sort=False):
        order = place.sort_values("mean", ascending=False)["model"].tolist()
        own = rows[(rows["scenario"] == scenario) & (rows["readout"] == readout)]
        panels.append(
            alt.hconcat(
                _dots(place, order, f"{scenario}, {readout}"),
                _spread(own, order, unit_of(str(scenario))),
            )
        )
    chart = alt.vconcat(*panels)
    page: str = chart.to_html(inline=True, fullhtml=False, output_div="figures")
    return page


def _dots(place: pd.DataFrame, order: list[str], title: str) -> alt.LayerChart:
    base = alt.Chart(place).encode(y=alt.Y("model:N", sort=order, title=None))
    bars = base.mark_rule(strokeWidth=2, color=COLOUR).encode(
        x=alt.X("low:Q", title="PCC of x_deg, 95 % interval"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=60, color=COLOUR).encode(
        x="mean:Q", tooltip=["model", "mean", "low", "high"]
    )
    return (bars + points).properties(title=title, width=420)


def _spread(rows: pd.DataFrame, order: list[str], unit: str) -> alt.Chart:
    means = rows.groupby(["model", unit], sort=False)["value"].mean().reset_index()
    return (
        alt.Chart(means)
        .mark_boxplot(color=COLOUR)
        .encode(
            x=alt.X("value:Q", title=f"mean PCC of each {unit}"),
            y=alt.Y("model:N", sort=order, title=None),
        )
        .properties(width=420, title=f"spread over {unit}s")
    )
