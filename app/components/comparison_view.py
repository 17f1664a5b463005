"""What a fine-tuning was worth: scores on held-out patients beside what they have to beat."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from app.components.charts import MISSING, Chart, draw
from app.components.exports import figure_bar
from app.components.text import count, plain, without_formulas
from xpert_core.finetuning.compare import FINETUNED, Comparison

COLUMNS = {
    "model": "Model",
    "pcc": "PCC",
    "low": "95 % from",
    "high": "95 % to",
    "centred": "Centred PCC",
    "difference": "Fine-tuned minus it",
    "difference_low": "difference from",
    "difference_high": "difference to",
}


def comparison_view(found: Comparison, key: str) -> None:
    """Verdict, chart, table, and what the numbers mean."""
    (st.success if found.may_be_default else st.warning)(plain(found.verdict))
    table = score_table(found)
    chart = score_chart(found, table)
    draw(chart)
    figure_bar(chart, table, f"finetuning_comparison_{key}", f"comparison-{key}")
    st.dataframe(
        without_formulas(table.rename(columns=COLUMNS)),
        hide_index=True,
        alt="Scores of each model on held-out patients",
        column_config={
            name: st.column_config.NumberColumn(format="%.3f")
            for column, name in COLUMNS.items()
            if column != "model"
        },
    )
    st.caption(
        f"Pearson correlation of the predicted and the measured change of a pair over its genes: "
        f"mean over {count(found.n_pairs, 'pair')} of {count(found.n_patients, 'patient')}, each "
        f"held out once in {count(found.folds, 'fold')}, with a 95 % interval over patients. "
        "Centred: after the mean change of the other patients is taken from both, so what is "
        "known of one patient beyond all; the mean change itself has 0. It shows how well changes "
        "of expression are predicted. It does not show whether a patient benefits."
    )


def score_table(found: Comparison) -> pd.DataFrame:
    """One line a model; columns as in `COLUMNS`."""
    lines: list[dict[str, Any]] = []
    for score in found.scores:
        line = {"model": score.label, "pcc": score.pcc.mean, "low": score.pcc.low,
                "high": score.pcc.high, "centred": score.centred.mean}  # fmt: skip
        if score.model != FINETUNED:
            less = found.difference(score.model).pcc
            line |= {"difference": less.mean, "difference_low": less.low,
                     "difference_high": less.high}  # fmt: skip
        lines.append(line)
    return pd.DataFrame(lines, columns=list(COLUMNS))


def score_chart(found: Comparison, table: pd.DataFrame) -> Chart:
    """PCC of each model with its interval."""
    base = alt.Chart(table).encode(
        y=alt.Y("model:N", sort=list(table["model"]), title=None, axis=alt.Axis(labelLimit=320)),
    )
    rules = base.mark_rule(strokeWidth=2, color=MISSING).encode(
        x=alt.X("low:Q", title="PCC of the change, 95 % over patients"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=90).encode(
        x="pcc:Q",
        tooltip=["model:N", *(alt.Tooltip(f"{c}:Q", format=".3f") for c in ("pcc", "low", "high"))],
    )
    said = "; ".join(f"{r['model']} {r['pcc']:.3f}" for r in table.to_dict("records"))
    return alt.layer(rules, points).properties(
        height=200,
        description=f"PCC on {found.n_patients} held-out patients: {said}. The table below holds "
        "the intervals.",
    )
