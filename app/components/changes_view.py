"""Changes under treatment on a page: counts, volcano, tables, balanced counts, null, downloads."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import streamlit as st

from app import keys
from app.components.charts import draw
from app.components.exports import csv_bytes, download, figure_bar
from app.components.text import plain, slug, without_formulas
from xpert_core.explanation import resistance_figures as figures
from xpert_core.explanation.changes import GroupChanges
from xpert_core.explanation.changes_files import change_volcano, difference_table
from xpert_core.explanation.changes_words import (
    BALANCED,
    LIMITS,
    difference_sentence,
    spread_sentence,
)
from xpert_core.explanation.resistance import power_of
from xpert_core.explanation.resistance_words import null_sentence

NUMBER = st.column_config.NumberColumn
DIFFERENCE = "Difference of the change"
#: The test of the change within a group.
PAIRED = "moderated t"


@st.fragment
def changes_view(found: GroupChanges) -> None:
    """Draw a comparison of changes; its selector redraws this part of the page only."""
    groups = found.groups
    st.subheader(
        plain(f"Change by {groups.column}: {groups.label_b} (B) against {groups.label_a} (A)")
    )
    _numbers(found)
    st.markdown(plain(f"{groups.sentence} {found.sentence}"))
    st.caption(BALANCED)
    show = st.warning if found.smaller_varies_more else st.info
    show(plain(spread_sentence(found)))
    st.info(
        plain(power_of(groups, found.difference.thresholds, found.difference.n_tested).sentence)
    )
    _difference(found)
    _tables(found)
    _null(found)
    st.caption(plain(LIMITS))


def _numbers(found: GroupChanges) -> None:
    columns = st.columns(5)
    columns[0].metric("Patients, A and B", f"{found.groups.n_a} and {found.groups.n_b}")
    columns[1].metric("Genes changing in A", int(found.in_a["passes"].sum()))
    columns[2].metric("Genes changing in B", int(found.in_b["passes"].sum()))
    deciding = found.difference.statistic
    for column, (name, passing) in zip(columns[3:], found.passing_by.items(), strict=True):
        column.metric(f"Differ, {name}" + (" (decides)" if name == deciding else ""), passing)


def _difference(found: GroupChanges) -> None:
    st.markdown(plain(difference_sentence(found)))
    chart = change_volcano(found)
    draw(chart)
    st.caption(
        "Each point is a gene. Right: a larger rise, or a smaller fall, in B. Grey: does not pass. "
        "Dashed: the thresholds, as far as a gene reaches them. The figure shows how measured "
        "changes differ between groups of patients; it does not show that a gene causes resistance."
    )
    figure_bar(chart, difference_table(found), _stem(found, "difference"), "changes-difference")


def _tables(found: GroupChanges) -> None:
    tables = {
        DIFFERENCE: difference_table(found),
        f"Change in A ({found.groups.label_a})": found.in_a.reset_index(),
        f"Change in B ({found.groups.label_b})": found.in_b.reset_index(),
    }
    parts = dict(zip(tables, ("difference", "in-a", "in-b"), strict=True))
    name = st.selectbox("Table", list(tables), key=keys.CHANGES_TABLE)
    st.dataframe(
        without_formulas(tables[name]),
        hide_index=True,
        height=320,
        alt=f"{name}: size, statistic and p-values of every gene, smallest p first",
        column_config=_columns(
            found.provenance["unit"], found.difference.statistic if name == DIFFERENCE else PAIRED
        ),
    )
    if name != DIFFERENCE:
        part = parts[name]
        make = _maker(tables[name])
        download("Table as CSV", make, f"{_stem(found, part)}.csv", f"changes-{part}", wide=False)


def _maker(table: pd.DataFrame) -> Any:
    return lambda: csv_bytes(table)


def _columns(unit: str, statistic: str) -> dict[str, Any]:
    return {
        "gene": st.column_config.TextColumn("Gene"),
        "passes": st.column_config.CheckboxColumn("Passes"),
        "higher_in": st.column_config.TextColumn("Higher in"),
        "difference": NUMBER("Change in B minus in A", format="%+.3f", help=f"Unit: {unit}"),
        "change_a": NUMBER("Mean change in A", format="%+.3f", help=f"Unit: {unit}"),
        "change_b": NUMBER("Mean change in B", format="%+.3f", help=f"Unit: {unit}"),
        "log2_ratio": NUMBER("Mean change", format="%+.3f", help=f"After minus before, {unit}"),
        "hedges_g": NUMBER("Hedges' g", format="%+.2f"),
        "g_low": NUMBER("g, 95 % from", format="%+.2f"),
        "g_high": NUMBER("g, 95 % to", format="%+.2f"),
        "t": NUMBER(statistic[0].upper() + statistic[1:], format="%+.2f"),
        "p": NUMBER(f"p ({statistic})", format="%.2g"),
        "q": NUMBER(f"q ({statistic})", format="%.2g"),
        "permutation_p": NUMBER("Permutation p (Welch)", format="%.2g"),
        "permutation_q": NUMBER("Permutation q (Welch)", format="%.2g"),
        "p_max": NUMBER("p against the maximum", format="%.2g"),
    }


def _null(found: GroupChanges) -> None:
    st.markdown("**Permuted labels:** how many genes seem to change differently when the groups "
                "mean nothing.")  # fmt: skip
    st.markdown(plain(null_sentence(found.difference, "Difference")))
    chart = figures.count_histogram(found.difference, DIFFERENCE)
    draw(chart)
    figure_bar(chart, figures.null_table(found.difference), _stem(found, "null"), "changes-null")


def _stem(found: GroupChanges, part: str) -> str:
    cohort = slug(found.provenance["cohort"])
    return f"xpert_{cohort}_changes_{slug(part)}_{date.today().isoformat()}"
