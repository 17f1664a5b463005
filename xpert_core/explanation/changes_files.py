"""Files of a comparison of changes under treatment."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from xpert_core.explanation.changes import GroupChanges
from xpert_core.explanation.changes_words import reading
from xpert_core.explanation.files import save_tables

if TYPE_CHECKING:
    from xpert_core.explanation.resistance_figures import Chart


def difference_table(found: GroupChanges) -> pd.DataFrame:
    """The difference of the change by gene, smallest p first.

    Returns
    -------
    DataFrame
        ``gene``, ``passes``, ``higher_in``, ``difference`` (change in B minus change in A),
        ``change_a``, ``change_b``, ``hedges_g``, ``g_low``, ``g_high``, ``t``, ``p``, ``q``,
        ``permutation_p``, ``permutation_q``, ``p_max``.
    """
    table = found.difference.table.reset_index().rename(
        columns={"log2_ratio": "difference", "mean_a": "change_a", "mean_b": "change_b"}
    )
    return table[
        ["gene", "passes", "higher_in", "difference", "change_a", "change_b", "hedges_g", "g_low",
         "g_high", "t", "p", "q", "permutation_p", "permutation_q", "p_max"]
    ]  # fmt: skip


def change_tables(found: GroupChanges) -> dict[str, pd.DataFrame]:
    """Tables by file name without suffix."""
    null = found.difference.null
    permuted = {"genes_p_below_0.05": null.counts_nominal, "genes_passing": null.counts}
    a, b = (pd.Series(one.counts, dtype="Int64") for one in found.balanced)
    return {
        "changes_in_a": found.in_a.reset_index(),
        "changes_in_b": found.in_b.reset_index(),
        "difference": difference_table(found),
        "balanced_counts": pd.DataFrame({"genes_in_a": a, "genes_in_b": b}).rename_axis("draw")
        .reset_index(),
        "permuted_labels": pd.DataFrame(permuted).rename_axis("relabelling").reset_index(),
    }  # fmt: skip


def report_text(found: GroupChanges) -> str:
    """The reading as a Markdown page."""
    groups, about = found.groups, found.provenance
    head = [
        f"# Change under treatment, {groups.column}: {groups.label_b} (B) against "
        f"{groups.label_a} (A)",
        "",
        f"Cohort {about['cohort']}, {about['pairs']} pairs. A change is after minus before "
        f"({about['unit']}); differences are B minus A: positive means a larger rise, or a smaller "
        "fall, in B.",
        "",
    ]
    return "\n".join([*head, *(f"- {sentence}" for sentence in reading(found))]) + "\n"


def change_volcano(found: GroupChanges) -> Chart:
    """Volcano of the difference. Needs the extra ``app``."""
    from xpert_core.explanation.resistance_figures import volcano

    groups, unit = found.groups, found.provenance["unit"]
    return volcano(
        found.difference,
        groups.label_a,
        groups.label_b,
        "Difference of the change under treatment",
        axis=f"change in B minus change in A ({unit})",
    )


def save_changes(found: GroupChanges, folder: Path) -> list[Path]:
    """Write the tables, the report, the provenance, and the volcano where it can be drawn.

    Returns
    -------
    list of Path
        The files written. The figure needs the extra ``app``.
    """
    texts = {"report.md": report_text(found)}
    if all(importlib.util.find_spec(name) for name in ("altair", "vl_convert")):
        import vl_convert

        chart = change_volcano(found).properties(width=560).configure(background="white")
        texts["volcano_difference.svg"] = vl_convert.vegalite_to_svg(chart.to_dict())
    return save_tables(folder, change_tables(found), found.provenance, texts)
