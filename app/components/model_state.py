"""The state of the model: what it is, what it learned from, how well it does."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import services
from app.components.text import plain
from xpert_core.evaluation.metrics import limits_text
from xpert_core.learning.card import MODEL, verdict

PARTS = {"test": "test drugs", "valid": "validation drugs"}


def model_state() -> None:
    """Draw name, training data and scores beside the baselines, whatever they are."""
    predictor = services.predictor()
    card = predictor.card
    st.markdown(f"**{plain(predictor.name)}**, version {predictor.digest[:12]}")
    scores = card.get("scores", [])
    if not scores:
        st.warning("This model came without scores. Do not rely on its predictions.")
        return
    st.markdown(plain(verdict(scores)))
    if behind_baseline(scores):
        st.warning(
            "On drugs it was not trained on, this model does not beat the best simple baseline. "
            "Take its predictions as a demonstration, not as evidence."
        )
    rows, drugs = card["rows"], card["drugs"]
    st.caption(
        f"Trained on {rows['train']:,} L1000 measurements of {drugs['train']:,} drugs in "
        f"{card['cell_lines']:,} cell lines; no patient was among them. PCC is the Pearson "
        "correlation between predicted and measured change over the landmark genes, averaged "
        "over measurements; 1 would be perfect, 0 no better than chance. None of the drugs below "
        "was trained on; the validation drugs chose the number of epochs, the test drugs nothing."
    )
    with st.expander("Scores beside the baselines"):
        st.dataframe(
            score_table(scores),
            hide_index=True,
            alt="Correlation of the model and of the simple baselines on drugs held out",
            column_config={"PCC": st.column_config.NumberColumn(format="%.3f")},
        )


def behind_baseline(scores: list[dict[str, Any]]) -> bool:
    """Whether a baseline is at least as good as the model on the test drugs, in any read-out."""
    test = pd.DataFrame(scores).query("part == 'test'")
    best = test.assign(own=test["model"] == MODEL).pivot_table(
        index="readout", columns="own", values="pcc", aggfunc="max"
    )
    return bool((best[True] <= best[False]).any())


def score_table(scores: list[dict[str, Any]]) -> pd.DataFrame:
    """Scores of the card as a table for people, the untouched drugs first."""
    table = pd.DataFrame(scores).sort_values(
        ["part", "readout", "pcc"], ascending=[True, True, False]
    )
    return pd.DataFrame(
        {
            "Tested on": table["part"].map(PARTS),
            "Read-out": table["readout"],
            "Model": table["model"],
            "PCC": table["pcc"],
            "95 % interval": [
                limits_text(low, high)
                for low, high in zip(table["low"], table["high"], strict=True)
            ],
            "Measurements": table["rows"],
            "Drugs": table["drugs"],
        }
    )
