"""Figures of a comparison of two groups. What does not pass is grey."""

from __future__ import annotations

from typing import TypeAlias

import altair as alt
import numpy as np
import pandas as pd

from xpert_core.explanation.differential import Differential
from xpert_core.explanation.resistance import Resistance

Chart: TypeAlias = alt.LayerChart | alt.FacetChart

#: Vermilion, blue and green of the Okabe-Ito palette, and a grey that is seen on both grounds.
UP, DOWN, BOTH, GREY = "#D55E00", "#0072B2", "#009E73", "#8A8F94"
N_LABELS = 12
N_SETS = 12
#: Marks differ in shape as well: colour is never alone.
SHAPES = ["triangle-up", "triangle-down", "circle"]


def volcano(
    one: Differential, label_a: str, label_b: str, title: str, axis: str = "log2 ratio, B over A"
) -> Chart:
    """Volcano of one measure; the samples are patients and nothing else."""
    names = [f"higher in B ({label_b})", f"higher in A ({label_a})", "does not pass"]
    table = one.table.reset_index()
    table["minus_log10_p"] = -np.log10(one.deciding_p.to_numpy())
    table["deciding_q"] = one.deciding_q.to_numpy()
    table = table[table["minus_log10_p"].notna()]
    table["state"] = np.select(
        [table["passes"] & (table["log2_ratio"] > 0), table["passes"]], names[:2], names[2]
    )
    table = table[
        ["gene", "log2_ratio", "minus_log10_p", "deciding_q", "hedges_g", "state", "passes"]
    ]
    table["labelled"] = _spaced(table["log2_ratio"].to_numpy(), table["minus_log10_p"].to_numpy())
    reach = float(table["log2_ratio"].abs().max() or 1.0) * 1.15
    test = "permutation p" if one.by_permutation else one.statistic
    base = alt.Chart(table).encode(
        x=alt.X(
            "log2_ratio:Q",
            title=axis,
            scale=alt.Scale(domain=[-reach, reach], nice=False),
        ),
        y=alt.Y("minus_log10_p:Q", title=f"-log10 p ({test})"),
    )
    points = base.mark_point(filled=True).encode(
        color=alt.Color(
            "state:N",
            scale=alt.Scale(domain=names, range=[UP, DOWN, GREY]),
            legend=alt.Legend(title=None, orient="bottom", labelLimit=260),
        ),
        shape=alt.Shape("state:N", scale=alt.Scale(domain=names, range=SHAPES), legend=None),
        size=alt.condition("datum.passes", alt.value(60), alt.value(22)),
        opacity=alt.condition("datum.passes", alt.value(1.0), alt.value(0.55)),
        tooltip=[
            alt.Tooltip("gene:N", title="Gene"),
            alt.Tooltip("log2_ratio:Q", title=axis, format="+.3f"),
            alt.Tooltip("deciding_q:Q", title="q", format=".3g"),
            alt.Tooltip("hedges_g:Q", title="Hedges' g", format="+.2f"),
            alt.Tooltip("state:N", title="State"),
        ],
    )
    labels = (
        base.transform_filter("datum.labelled")
        .mark_text(align="left", dx=6, dy=-5, fontSize=11)
        .encode(text="gene:N")
    )
    layers = [*_limits(one, table), points, labels]
    passing = int(table["passes"].sum())
    description = (
        f"Volcano plot. {title}. {len(table)} genes; {passing} pass. B is {label_b}, A is "
        f"{label_a}. Genes that do not pass are grey; the genes of smallest p carry "
        "their names, as far as there is room. The table below holds the numbers."
    )
    return alt.layer(*layers, data=table).properties(
        title=alt.Title(title, anchor="start"), description=description, height=520
    )


def _spaced(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points carry a name: the highest ones whose names do not cover each other."""
    across, up = np.ptp(x) or 1.0, np.ptp(y) or 1.0
    chosen: list[int] = []
    for i in np.argsort(-y, kind="stable")[: 3 * N_LABELS]:
        clear = (abs(x[i] - x[k]) > 0.16 * across or abs(y[i] - y[k]) > 0.04 * up for k in chosen)
        if all(clear) and len(chosen) < N_LABELS:
            chosen.append(int(i))
    return np.isin(np.arange(len(x)), chosen)


def _limits(one: Differential, table: pd.DataFrame) -> list[alt.Chart]:
    """Dashed lines at the thresholds, as far as they can be drawn."""
    lines = []
    if one.thresholds.log2_ratio:
        ends = pd.DataFrame({"x": [-one.thresholds.log2_ratio, one.thresholds.log2_ratio]})
        lines.append(_rule(ends).encode(x="x:Q"))
    within = table["deciding_q"] <= one.thresholds.q
    if within.any():
        lowest = pd.DataFrame({"y": [table.loc[within, "minus_log10_p"].min()]})
        lines.append(_rule(lowest).encode(y="y:Q"))
    return lines


def _rule(data: pd.DataFrame) -> alt.Chart:
    return alt.Chart(data).mark_rule(strokeDash=[4, 4], color=GREY)


def beside_expression(found: Resistance) -> Chart:
    """Standardised difference of each gene in attention and in expression."""
    states = ["both", "attention only", "expression only", "neither"]
    table = found.genes.reset_index()[
        ["gene", "attention_hedges_g", "expression_hedges_g", "seen_by"]
    ].dropna()
    table["passes"] = table["seen_by"] != "neither"
    base = alt.Chart(table).encode(
        x=alt.X("expression_hedges_g:Q", title="Expression: Hedges' g, B against A"),
        y=alt.Y("attention_hedges_g:Q", title="Attention: Hedges' g, B against A"),
    )
    points = base.mark_point(filled=True).encode(
        color=alt.Color(
            "seen_by:N",
            scale=alt.Scale(domain=states, range=[BOTH, UP, DOWN, GREY]),
            legend=alt.Legend(title="Passes in", orient="bottom"),
        ),
        shape=alt.Shape(
            "seen_by:N",
            scale=alt.Scale(domain=states, range=["diamond", *SHAPES]),
            legend=None,
        ),
        size=alt.condition("datum.passes", alt.value(60), alt.value(22)),
        opacity=alt.condition("datum.passes", alt.value(1.0), alt.value(0.55)),
        tooltip=[
            alt.Tooltip("gene:N", title="Gene"),
            alt.Tooltip("attention_hedges_g:Q", title="g of attention", format="+.2f"),
            alt.Tooltip("expression_hedges_g:Q", title="g of expression", format="+.2f"),
            alt.Tooltip("seen_by:N", title="Passes in"),
        ],
    )
    labels = (
        base.transform_filter("datum.passes")
        .mark_text(align="left", dx=6, dy=-5, fontSize=11)
        .encode(text="gene:N")
    )
    zero = pd.DataFrame({"zero": [0.0]})
    lines = [_rule(zero).encode(x="zero:Q"), _rule(zero).encode(y="zero:Q")]
    counts = table["seen_by"].value_counts()
    description = (
        f"Scatter plot of {len(table)} genes, difference of attention against difference of "
        "expression. "
        + ", ".join(f"{state}: {counts.get(state, 0)}" for state in states)
        + ". The table below holds the numbers."
    )
    return alt.layer(*lines, points, labels).properties(
        title=alt.Title("Attention beside expression before treatment", anchor="start"),
        description=description,
        height=520,
    )


def beside_untrained(found: Resistance) -> Chart:
    """log2 ratio of attention in the trained and the first untrained network."""
    names = ["passes in the trained network", "passes in both", "does not pass"]
    table = found.genes.reset_index()[
        ["gene", "attention_log2_ratio", "untrained_log2_ratio", "attention_passes",
         "untrained_passes"]
    ].dropna()  # fmt: skip
    passes = table["attention_passes"].astype(bool)
    table["state"] = np.select(
        [passes & (table["untrained_passes"] > 0), passes], [names[1], names[0]], names[2]
    )
    points = (
        alt.Chart(table)
        .mark_point(filled=True)
        .encode(
            x=alt.X("untrained_log2_ratio:Q", title="Untrained network: log2 ratio, B over A"),
            y=alt.Y("attention_log2_ratio:Q", title="Trained network: log2 ratio, B over A"),
            color=alt.Color(
                "state:N",
                scale=alt.Scale(domain=names, range=[UP, BOTH, GREY]),
                legend=alt.Legend(title=None, orient="bottom", labelLimit=260),
            ),
            shape=alt.Shape("state:N", scale=alt.Scale(domain=names, range=SHAPES), legend=None),
            size=alt.condition(f"datum.state == '{names[2]}'", alt.value(22), alt.value(60)),
            opacity=alt.condition(f"datum.state == '{names[2]}'", alt.value(0.55), alt.value(1.0)),
            tooltip=["gene:N", "attention_log2_ratio:Q", "untrained_log2_ratio:Q", "state:N"],
        )
    )
    description = (
        f"Scatter plot of {len(table)} genes: log2 ratio of attention in the trained network "
        f"against an untrained one. Spearman correlation {found.habit.correlation:.2f}."
    )
    zero = pd.DataFrame({"zero": [0.0]})
    lines = [_rule(zero).encode(x="zero:Q"), _rule(zero).encode(y="zero:Q")]
    return alt.layer(*lines, points).properties(
        title=alt.Title("Trained beside untrained network", anchor="start"),
        description=description,
        height=500,
    )


def null_table(one: Differential) -> pd.DataFrame:
    """Counts by relabelling: ``genes_p_below_0.05`` and ``genes_passing``."""
    return pd.DataFrame(
        {"genes_p_below_0.05": one.null.counts_nominal, "genes_passing": one.null.counts}
    )


def count_histogram(one: Differential, title: str) -> Chart:
    """Genes with p < 0.05 under permuted labels, and with the true ones."""
    null = one.null
    counts = pd.DataFrame({"count": null.counts_nominal})
    return _histogram(
        counts,
        "count",
        float(null.observed_nominal),
        "Genes with p < 0.05 (uncorrected)",
        f"{title}: permuted labels",
        f"{null.observed_nominal} genes with the true labels; chance of as many "
        f"{null.p_nominal:.2g}",
    )


def maximum_histogram(one: Differential, title: str) -> Chart:
    """Largest absolute t under permuted labels, and with the true ones."""
    p, observed = float(one.table["p_max"].min()), one.maximum
    return _histogram(
        pd.DataFrame({"t": one.maxima}),
        "t",
        observed,
        "Largest |Welch t| of all genes",
        f"{title}: largest statistic",
        f"with the true labels {observed:.2f}; chance of as large a one {p:.2g}",
    )


def _histogram(
    data: pd.DataFrame, column: str, observed: float, axis: str, title: str, words: str
) -> Chart:
    values = data[column].to_numpy(dtype=float)
    counts, edges = np.histogram(values, bins=min(40, max(5, len(np.unique(values)))))
    bins = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "relabellings": counts})
    bars = (
        alt.Chart(bins)
        .mark_bar(color=GREY)
        .encode(
            x=alt.X("from:Q", title=axis, bin="binned"),
            x2="to:Q",
            y=alt.Y("relabellings:Q", title="Relabellings"),
            tooltip=["from:Q", "to:Q", "relabellings:Q"],
        )
    )
    line = (
        alt.Chart(pd.DataFrame({"x": [observed], "name": ["true labels"]}))
        .mark_rule(color=UP, strokeWidth=3)
        .encode(x="x:Q", tooltip=[alt.Tooltip("x:Q", title="True labels")])
    )
    return alt.layer(bars, line).properties(
        title=alt.Title(title, subtitle=f"Orange line: {words}", anchor="start"),
        description=f"Histogram. {title}. {words}.",
        height=300,
    )


def set_bars(ranked: pd.DataFrame, q: float, title: str) -> Chart:
    """Normalised enrichment scores of the sets of smallest p; grey where q is above the limit."""
    table = ranked.head(N_SETS).dropna(subset=["nes"]).copy()
    names = ["enriched towards B", "enriched towards A", f"q above {q:g}"]
    table["state"] = np.select(
        [(table["q"] <= q) & (table["nes"] > 0), table["q"] <= q], names[:2], names[2]
    )
    table["label"] = [
        f"{name if len(name) <= 46 else name[:45] + '…'} ({size})"
        for name, size in zip(table["set"], table["size"], strict=True)
    ]
    bars = (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X("nes:Q", title="Normalised enrichment score (positive: towards B)"),
            y=alt.Y(
                "label:N",
                sort=list(table["label"]),
                title=None,
                axis=alt.Axis(labelLimit=340, labelOverlap=False),
            ),
            color=alt.Color(
                "state:N",
                scale=alt.Scale(domain=names, range=[UP, DOWN, GREY]),
                legend=alt.Legend(title=None, orient="bottom"),
            ),
            tooltip=["set:N", "size:Q", "nes:Q", "p:Q", "q:Q", "leading_edge:N"],
        )
    )
    description = (
        f"Bar chart. {title}. The {len(table)} gene sets of smallest p with their normalised "
        f"enrichment score; {int((table['q'] <= q).sum())} of them have q at most {q:g}."
    )
    return alt.layer(bars).properties(
        title=alt.Title(title, anchor="start"),
        description=description,
        height=150 + 28 * len(table),
    )
