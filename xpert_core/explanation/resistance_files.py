"""Files of a comparison of two groups."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from xpert_core.explanation.figures import WIDTH, can_draw, svg
from xpert_core.explanation.files import save_tables
from xpert_core.explanation.resistance import ATTENTION, EXPRESSION, Resistance
from xpert_core.explanation.resistance_words import reading


def resistance_tables(found: Resistance) -> dict[str, pd.DataFrame]:
    """Tables by file name without suffix."""
    from_null = {
        ATTENTION: found.attention,
        EXPRESSION: found.expression,
        **{f"untrained_{i}": other for i, other in enumerate(found.untrained, start=1)},
    }
    nulls = pd.concat(
        {
            name: pd.DataFrame(
                {
                    "genes_p_below_0.05": one.null.counts_nominal,
                    "genes_passing_by_test_p": one.null.counts,
                }
            )
            for name, one in from_null.items()
        },
        names=["measure", "relabelling"],
    )
    return {
        "genes": found.genes.reset_index(),
        "over_representation": found.over_representation,
        "ranked_enrichment": found.ranked,
        "permuted_labels": nulls.reset_index(),
    }


def report_text(found: Resistance) -> str:
    """The reading as a Markdown page."""
    about = found.provenance
    head = [
        f"# {found.groups.column}: {found.groups.label_b} (B) against {found.groups.label_a} (A)",
        "",
        f"Cohort {about['cohort']}, model {about['model_name']} ({about['model_digest'][:12]}). "
        "log2 ratios are B over A: positive means higher in B.",
        "",
    ]
    return "\n".join([*head, *(f"- {sentence}" for sentence in reading(found))]) + "\n"


def save_resistance(found: Resistance, folder: Path) -> list[Path]:
    """Write the tables, the report, the provenance, and figures where they can be drawn.

    Returns
    -------
    list of Path
        The files written. Figures need the extra ``app``.
    """
    texts = {"report.md": report_text(found), **_figures(found)}
    return save_tables(folder, resistance_tables(found), found.provenance, texts)


def _figures(found: Resistance) -> dict[str, str]:
    if not can_draw():
        return {}
    from xpert_core.explanation import resistance_figures as figures

    a, b = found.groups.label_a, found.groups.label_b
    charts = {
        "volcano_attention": figures.volcano(found.attention, a, b, found.attention.measure),
        "volcano_expression": figures.volcano(found.expression, a, b, found.expression.measure),
        "attention_beside_expression": figures.beside_expression(found),
        "attention_beside_untrained": figures.beside_untrained(found),
        "null_counts": figures.count_histogram(found.attention, "Attention"),
        "null_maximum": figures.maximum_histogram(found.attention, "Attention"),
    }
    return {f"{name}.svg": svg(chart.properties(width=WIDTH)) for name, chart in charts.items()}
