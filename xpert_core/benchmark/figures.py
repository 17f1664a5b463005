"""Figures of the report."""

from __future__ import annotations

import altair as alt
import pandas as pd

from xpert_core.benchmark.tables import unit_of

COLOUR = "#0072B2"
COLOURS = ("#555555", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito, told apart by colour-blind eyes; what was measured comes first, in grey."""
_NAMES = alt.Axis(labelLimit=320, title=None)


def score_chart(intervals: pd.DataFrame, rows: pd.DataFrame) -> alt.VConcatChart:
    """PCC with intervals, and its spread over drugs or cell lines, for each scenario."""
    panels: list[alt.HConcatChart] = []
    for (scenario, readout), place in intervals.groupby(["scenario", "readout"], sort=False):
        order = place.sort_values("mean", ascending=False, kind="stable")["model"].tolist()
        own = rows[(rows["scenario"] == scenario) & (rows["readout"] == readout)]
        panels.append(
            alt.hconcat(
                _dots(place, order, f"{scenario}, {readout}"),
                _spread(own, order, unit_of(str(scenario))),
            )
        )
    return alt.vconcat(*panels)


def _dots(place: pd.DataFrame, order: list[str], title: str) -> alt.LayerChart:
    base = alt.Chart(place).encode(y=alt.Y("model:N", sort=order, axis=_NAMES))
    bars = base.mark_rule(strokeWidth=2, color=COLOUR).encode(
        x=alt.X("low:Q", title="PCC of x_deg, 95 % interval"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=60, color=COLOUR).encode(
        x="mean:Q", tooltip=["model", "mean", "low", "high"]
    )
    return (bars + points).properties(title=title, width=400)


def _spread(rows: pd.DataFrame, order: list[str], unit: str) -> alt.LayerChart:
    """Boxes from quantiles: a benchmark has more drugs than a chart may carry points."""
    means = rows.groupby(["model", unit], sort=False)["value"].mean()
    shares = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
    by_model = means.groupby("model", sort=False)
    boxes = pd.DataFrame({name: by_model.quantile(q) for name, q in shares.items()}).reset_index()
    base = alt.Chart(boxes).encode(
        y=alt.Y("model:N", sort=order, axis=alt.Axis(labels=False, title=None)),
        tooltip=["model", *shares],
    )
    axis = alt.X("q05:Q", title=f"mean PCC of each {unit}: 5 to 95 %, quartiles, median")
    whiskers = base.mark_rule(color=COLOUR).encode(x=axis, x2="q95:Q")
    middle = base.mark_bar(color=COLOUR, height=12).encode(x=alt.X("q25:Q"), x2="q75:Q")
    medians = base.mark_tick(color="white", thickness=2, height=12).encode(x=alt.X("median:Q"))
    return (whiskers + middle + medians).properties(width=400, title=f"spread over {unit}s")


def rank_chart(ranks: pd.DataFrame) -> alt.VConcatChart:
    """Ranks as numbers on a field that is darker the better the place."""
    panels = []
    for (scenario, readout), own in ranks.groupby(["scenario", "readout"], sort=False):
        order = own.groupby("model", sort=False)["rank"].mean().sort_values(kind="stable")
        metrics = own["label"].drop_duplicates().tolist()
        last = float(own["rank"].max())
        base = alt.Chart(own).encode(
            x=alt.X("label:N", sort=metrics, axis=alt.Axis(title=None, labelAngle=-40)),
            y=alt.Y("model:N", sort=order.index.tolist(), axis=_NAMES),
            tooltip=["model", "label", "mean", "rank"],
        )
        colour = alt.Color(
            "rank:Q",
            scale=alt.Scale(scheme="blues", reverse=True, domain=[1, max(last, 2.0)]),
            legend=None,
        )
        ink = alt.condition(f"datum.rank < {1 + last / 3}", alt.value("white"), alt.value("#222"))
        text = base.mark_text(fontSize=11).encode(text=alt.Text("rank:Q", format=".0f"), color=ink)
        field = base.mark_rect(stroke="white").encode(color=colour)
        panels.append((field + text).properties(title=f"{scenario}, {readout}", width=620))
    return alt.vconcat(*panels).resolve_scale(color="independent")


def similarity_chart(means: pd.DataFrame, title: str) -> alt.LayerChart:
    """PCC of cell lines against their similarity to the nearest training line.

    Parameters
    ----------
    means : DataFrame
        Columns ``model``, ``cell``, ``nearest``, ``nearest_cell``, ``group``, ``value``.
    title : str
    """
    base = alt.Chart(means).encode(
        x=alt.X(
            "nearest:Q",
            title="similarity to the nearest training line",
            scale=alt.Scale(zero=False, padding=20),
        ),
        y=alt.Y("value:Q", title="mean PCC of the cell line"),
        tooltip=["model", "cell", "nearest", "nearest_cell", "group", "value"],
    )
    models = means["model"].drop_duplicates().tolist()
    points = base.mark_point(size=70, strokeWidth=2).encode(
        color=alt.Color(
            "model:N",
            scale=alt.Scale(domain=models, range=list(COLOURS[1 : 1 + len(models)])),
            legend=alt.Legend(title=None, labelLimit=320),
        ),
        shape=alt.Shape("model:N", scale=alt.Scale(domain=models), legend=None),
    )
    own = means[means["model"] == models[0]]
    names = alt.Chart(own).mark_text(align="left", dx=8, dy=-6, fontSize=10, color="#444")
    names = names.encode(x="nearest:Q", y="value:Q", text="cell:N")
    return (points + names).properties(title=title, width=640, height=320)


def gene_chart(genes: pd.DataFrame, title: str) -> alt.LayerChart:
    """Box plots of genes, one box a source, from their quantiles.

    Parameters
    ----------
    genes : DataFrame
        Of one place, from `xpert_core.benchmark.genes.gene_table`.
    title : str
    """
    order = genes["gene"].drop_duplicates().tolist()
    sources = genes["source"].drop_duplicates().tolist()
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(sources))]
    base = alt.Chart(genes).encode(
        x=alt.X("gene:N", sort=order, axis=alt.Axis(title=None, labelAngle=-40)),
        xOffset=alt.XOffset("source:N", sort=sources),
        color=alt.Color(
            "source:N",
            sort=sources,
            scale=alt.Scale(domain=sources, range=colours),
            legend=alt.Legend(title=None, labelLimit=320, symbolType="square", symbolSize=140),
        ),
        tooltip=["gene", "source", "q05", "q25", "median", "q75", "q95"],
    )
    axis = alt.Y("q05:Q", title="x_deg (units of the read-out)")
    whiskers = base.mark_rule().encode(y=axis, y2="q95:Q")
    boxes = base.mark_bar().encode(y=alt.Y("q25:Q"), y2="q75:Q")
    medians = base.mark_tick(thickness=2).encode(y="median:Q", color=alt.value("white"))
    width = max(640, min(1000, 14 * len(order) * (len(sources) + 1)))
    return (whiskers + boxes + medians).properties(title=title, width=width, height=280)
