"""A comparison of two groups on a page: volcano, tables, nulls, gene sets, downloads, and words."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from app import keys
from app.components.charts import draw
from app.components.errors import guarded
from app.components.exports import csv_bytes, download, figure_bar
from app.components.figures import figure
from app.components.gene_view import gene_view
from app.components.provenance import made_with
from app.components.text import plain, slug, without_formulas
from xpert_core.explanation import resistance_figures as figures
from xpert_core.explanation.differential import Differential
from xpert_core.explanation.genesets import COLLECTIONS, MAX_SIZE, MIN_SIZE
from xpert_core.explanation.resistance import ATTENTION, EXPRESSION, Material, Resistance
from xpert_core.explanation.resistance_words import (
    LIMITS,
    balanced_sentence,
    null_sentence,
    overlap_sentence,
    passing_sentence,
    untrained_sentence,
)

MEASURES = {ATTENTION: "Attention", EXPRESSION: "Expression"}
NUMBER = st.column_config.NumberColumn


@st.fragment
def resistance_view(found: Resistance, material: Material) -> None:
    """Draw a comparison and the attention it is made from; its selectors redraw this part of the
    page only."""
    groups = found.groups
    st.subheader(plain(f"{groups.column}: {groups.label_b} (B) against {groups.label_a} (A)"))
    made_with(found.provenance, _stem(found, groups.column), "resistance")
    _numbers(found)
    st.markdown(plain(groups.sentence))
    st.info(plain(found.power.sentence))
    if found.attention.warning:
        st.warning(plain(found.attention.warning))
    parts = {
        "Differential attention": partial(_measure, found, ATTENTION),
        "Differential expression": partial(_measure, found, EXPRESSION),
        "Attention beside expression": partial(_overlap, found),
        "Nulls": partial(_nulls, found),
        "Gene sets": partial(_sets, found),
        "Gene attention": partial(gene_view, material),
    }
    # Only the open tab is computed.
    tabs = st.tabs(list(parts), key="resistance-tabs", on_change="rerun")
    for tab, show in zip(tabs, parts.values(), strict=True):
        if tab.open:
            with tab, guarded():
                show()
    st.caption(plain(LIMITS))


def _numbers(found: Resistance) -> None:
    columns = st.columns(4)
    columns[0].metric("Patients, A and B", f"{found.groups.n_a} and {found.groups.n_b}")
    columns[1].metric("Genes passing in attention", len(found.attention.passing))
    columns[2].metric("Genes passing in expression", len(found.expression.passing))
    columns[3].metric("Passing in the untrained network", len(found.untrained[0].passing))


def _measure(found: Resistance, key: str) -> None:
    one = found.attention if key == ATTENTION else found.expression
    name = f"Differential {one.measure}" if key == ATTENTION else "Differential expression"
    st.markdown(plain(passing_sentence(one, name)))
    chart = figures.volcano(one, found.groups.label_a, found.groups.label_b, one.measure)
    draw(chart)
    st.caption(
        "Each point is a gene. Right: higher in B. Grey: does not pass. Dashed: the thresholds, as "
        "far as a gene reaches them. The figure shows differences between groups of patients; it "
        "does not show that a gene causes resistance."
    )
    table = _gene_table(found, one, key)
    st.markdown("**All genes, smallest p first**")
    st.dataframe(
        without_formulas(table),
        hide_index=True,
        height=320,
        alt=f"{one.measure}: log2 ratio, effect size and p-values of every gene",
        column_config=_columns(one),
    )
    figure_bar(chart, table, _stem(found, key), f"resistance-{key}")


def _gene_table(found: Resistance, one: Differential, key: str) -> pd.DataFrame:
    table = one.table.reset_index()
    wanted = [
        "gene", "passes", "higher_in", "log2_ratio", "hedges_g", "g_low", "g_high", "p", "q",
        "permutation_p", "permutation_q", "p_max", "mean_a", "mean_b",
    ]  # fmt: skip
    if key == ATTENTION:
        table["untrained_q"] = found.genes["untrained_q"].reindex(one.table.index).to_numpy()
        wanted += ["untrained_q", "log2_ratio_of_means"]
    return table[wanted]


def _columns(one: Differential) -> dict[str, Any]:
    test = "Welch" if one.by_permutation else "moderated t"
    return {
        "gene": st.column_config.TextColumn("Gene"),
        "passes": st.column_config.CheckboxColumn("Passes"),
        "higher_in": st.column_config.TextColumn("Higher in"),
        "log2_ratio": NUMBER("log2 ratio, B over A", format="%+.3f"),
        "hedges_g": NUMBER("Hedges' g", format="%+.2f"),
        "g_low": NUMBER("g, 95 % from", format="%+.2f"),
        "g_high": NUMBER("g, 95 % to", format="%+.2f"),
        "p": NUMBER(f"p ({test})", format="%.2g"),
        "q": NUMBER(f"q ({test})", format="%.2g"),
        "permutation_p": NUMBER("Permutation p", format="%.2g"),
        "permutation_q": NUMBER("Permutation q", format="%.2g"),
        "p_max": NUMBER("p against the maximum", format="%.2g"),
        "mean_a": NUMBER("Mean of A (log2)", format="%.2f"),
        "mean_b": NUMBER("Mean of B (log2)", format="%.2f"),
        "untrained_q": NUMBER("q, untrained network", format="%.2g"),
        "log2_ratio_of_means": NUMBER("log2 ratio of arithmetic means", format="%+.3f"),
    }


def _overlap(found: Resistance) -> None:
    st.markdown(plain(overlap_sentence(found)))
    chart = figures.beside_expression(found)
    draw(chart)
    st.caption(
        "Each point is a gene: its standardised difference between the groups in expression and in "
        "attention. It shows what attention adds to a plain test of expression, not which of the "
        "two is right."
    )
    only = found.overlap.only_first
    st.markdown(
        f"**Only attention sees:** {plain(', '.join(only))}" if only
        else "Attention sees no gene that expression does not."
    )  # fmt: skip
    table = found.genes.reset_index()[
        ["gene", "seen_by", "attention_log2_ratio", "attention_hedges_g", "attention_permutation_q",
         "expression_log2_ratio", "expression_hedges_g", "expression_q", "untrained_q"]
    ]  # fmt: skip
    st.dataframe(
        without_formulas(table),
        hide_index=True,
        height=300,
        alt="Attention and expression of every gene side by side",
        column_config={
            "gene": st.column_config.TextColumn("Gene"),
            "seen_by": st.column_config.TextColumn("Passes in"),
            "attention_log2_ratio": NUMBER("Attention: log2 ratio", format="%+.3f"),
            "attention_hedges_g": NUMBER("Attention: g", format="%+.2f"),
            "attention_permutation_q": NUMBER("Attention: q", format="%.2g"),
            "expression_log2_ratio": NUMBER("Expression: log2 ratio", format="%+.3f"),
            "expression_hedges_g": NUMBER("Expression: g", format="%+.2f"),
            "expression_q": NUMBER("Expression: q", format="%.2g"),
            "untrained_q": NUMBER("Untrained network: q", format="%.2g"),
        },
    )
    figure_bar(chart, table, _stem(found, "both"), "resistance-both")


def _nulls(found: Resistance) -> None:
    st.markdown("**Permuted labels:** how many genes look different when the groups mean nothing.")
    key = st.segmented_control(
        "Measure",
        list(MEASURES),
        format_func=MEASURES.__getitem__,
        default=ATTENTION,
        required=True,
        key=keys.RESISTANCE_NULL,
    )
    one = found.attention if key == ATTENTION else found.expression
    st.markdown(plain(null_sentence(one, MEASURES[key])))
    about = found.provenance.get("cohort", "cohort")
    left, right = st.columns(2)
    with left:
        figure(
            figures.count_histogram(one, MEASURES[key]),
            figures.null_table(one),
            "How many genes have p < 0.05 when the labels of the patients are permuted, and with "
            "the true labels (orange). It shows whether the groups differ at all, not which genes "
            "do. A row of the table is a relabelling.",
            name=f"resistance-{key}-counts",
            about=about,
        )
    with right:
        figure(
            figures.maximum_histogram(one, MEASURES[key]),
            pd.DataFrame({"largest_t": one.maxima}),
            "The largest statistic of all genes for each permutation of the labels, and with the "
            "true ones (orange). It shows whether the most different gene is more than the best of "
            "many; many small differences it does not show. A row of the table is a relabelling.",
            name=f"resistance-{key}-maxima",
            about=about,
        )
    st.markdown("**Untrained network:** what the architecture shows of these patients by itself.")
    st.markdown(plain(untrained_sentence(found)))
    columns = ["attention_log2_ratio", "untrained_log2_ratio", "untrained_q", "untrained_passes"]
    figure(
        figures.beside_untrained(found),
        found.genes[columns].reset_index(),
        "Each point is a gene. One far from zero in both networks is seen because of its "
        "expression and the shape of the network; only what the trained network shows alone can "
        "have been learned. That it was learned does not show that it is right.",
        name="resistance-untrained",
        about=about,
    )
    st.markdown(plain(balanced_sentence(found)))


def _sets(found: Resistance) -> None:
    left, right = st.columns(2)
    key = left.segmented_control(
        "Ranked by", list(MEASURES), format_func=MEASURES.__getitem__, default=ATTENTION,
        required=True, key=keys.RESISTANCE_RANKED,
    )  # fmt: skip
    options = [name for name in COLLECTIONS if name in found.options.collections]
    collection = right.selectbox(
        "Collection", options, format_func=COLLECTIONS.__getitem__, key=keys.RESISTANCE_COLLECTION
    )
    ranked = found.ranked.query("measure == @key and collection == @collection")
    limit = found.options.thresholds.q
    passing = int((ranked["q"] <= limit).sum())
    name = f"{MEASURES[key]}, {COLLECTIONS[collection]}"
    st.markdown(
        f"**Ranked enrichment.** {passing} of {len(ranked)} sets have q at most {limit:g}. "
        f"Sets of {MIN_SIZE} to {MAX_SIZE} tested genes; the background is the "
        f"{found.attention.n_tested} tested genes; the null is permuted patients, which keeps the "
        "correlation of genes."
    )
    chart = figures.set_bars(ranked, limit, name)
    draw(chart)
    st.caption(
        "Bars: the sets of smallest p, with the number of their genes on the panel. A set of five "
        "to ten genes is decided by two or three of them: look at the leading edge."
    )
    st.dataframe(
        without_formulas(ranked.drop(columns=["measure", "collection"])),
        hide_index=True,
        height=260,
        alt=f"Ranked enrichment of {name}",
        column_config=_set_columns(),
    )
    figure_bar(chart, ranked, _stem(found, f"sets-{key}-{collection}"), f"sets-{key}-{collection}")
    _over_represented(found, key, collection)


def _set_columns() -> dict[str, Any]:
    return {
        "set": st.column_config.TextColumn("Gene set", width="large"),
        "size": NUMBER("Genes tested"),
        "es": NUMBER("Enrichment score", format="%+.2f"),
        "nes": NUMBER("Normalised", format="%+.2f"),
        "p": NUMBER("p", format="%.2g"),
        "q": NUMBER("q", format="%.2g"),
        "leading_edge": st.column_config.TextColumn("Leading edge", width="large"),
        "hits": NUMBER("Genes found"),
        "expected": NUMBER("Expected", format="%.1f"),
        "fold": NUMBER("Fold", format="%.1f"),
        "genes": st.column_config.TextColumn("Genes", width="large"),
        "list": st.column_config.TextColumn("List", width="medium"),
    }


def _over_represented(found: Resistance, key: str, collection: str) -> None:
    st.markdown("**Over-representation** among the genes that pass (hypergeometric test)")
    table = found.over_representation
    if len(table):
        of_key = table["list"].str.startswith(key) & (table["collection"] == collection)
        table = table[of_key & (table["hits"] > 0)]
    if not len(table):
        st.caption("No gene passes, or none that is in a set: there is no list to look at.")
        return
    st.dataframe(
        without_formulas(table.drop(columns="collection")),
        hide_index=True,
        height=260 if len(table) > 6 else "auto",
        alt="Over-representation of gene sets among the genes that pass",
        column_config=_set_columns(),
    )
    name = f"{_stem(found, f'over-{key}-{collection}')}.csv"
    download("Table as CSV", lambda: csv_bytes(table), name, f"over-{key}-{collection}", wide=False)


def _stem(found: Resistance, part: str) -> str:
    cohort = slug(found.provenance.get("cohort", "cohort"))
    return f"xpert_{cohort}_resistance_{slug(part)}_{date.today().isoformat()}"
