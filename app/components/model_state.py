"""A model on the page: what it is, what it learned from, how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app import services
from app.components.text import plain
from xpert_core.evaluation.metrics import limits_text
from xpert_core.learning.card import MODEL, verdict
from xpert_core.store.comparison import card_scores
from xpert_core.store.registered import RegisteredModel

PARTS = {"test": "test drugs", "valid": "validation drugs"}


def model_state() -> None:
    """Draw the model in use: name, training data and scores beside the baselines."""
    model = services.model_in_use()
    services.predictor()
    st.markdown(f"**{plain(model.name)}**, version {model.digest[:12]}")
    model_scores(model)


def model_scores(model: RegisteredModel) -> None:
    """Draw what a card says of the scores, whatever they are."""
    card = model.card
    scores = card_scores(card)
    if scores.empty:
        st.warning("This model came without scores. Do not rely on its predictions.")
        return
    if _has_drug_test(card):
        st.markdown(plain(verdict(card["scores"])))
        _warn_behind_baseline(scores)
        _training(card)
    compared = card.get("comparison")
    if isinstance(compared, Mapping) and compared.get("why"):
        st.markdown(plain(compared["why"]))
    with st.expander("Scores beside the baselines"):
        st.dataframe(
            score_table(scores),
            hide_index=True,
            alt="Correlation of the model and of the simple baselines on rows held out",
            column_config={"PCC": st.column_config.NumberColumn(format="%.3f")},
        )


def _has_drug_test(card: Mapping[str, Any]) -> bool:
    """Whether this is the card of a training with drugs held out, as `learning.card` writes it."""
    parts = [line.get("part") for line in card.get("scores", []) if isinstance(line, Mapping)]
    return "test" in parts and {"rows", "drugs", "cell_lines"} <= set(card)


def _warn_behind_baseline(scores: pd.DataFrame) -> None:
    if behind_baseline(scores):
        st.warning(
            "On drugs it was not trained on, this model does not beat the best simple baseline. "
            "Take its predictions as a demonstration, not as evidence."
        )


def _training(card: Mapping[str, Any]) -> None:
    rows, drugs = card["rows"], card["drugs"]
    st.caption(
        f"Trained on {rows['train']:,} L1000 measurements of {drugs['train']:,} drugs in "
        f"{card['cell_lines']:,} cell lines; no patient was among them. PCC is the Pearson "
        "correlation between predicted and measured change over the landmark genes, averaged "
        "over measurements; 1 would be perfect, 0 no better than chance. None of the drugs below "
        "was trained on; the validation drugs chose the number of epochs, the test drugs nothing."
    )


def behind_baseline(scores: pd.DataFrame) -> bool:
    """Whether a baseline is at least as good as the model on the test drugs, in any read-out.

    Parameters
    ----------
    scores : DataFrame
        As `card_scores` returns.
    """
    test = scores[scores["part"] == "test"]
    best = (
        test.assign(own=test["scored"] == MODEL)
        .pivot_table(index="readout", columns="own", values="pcc", aggfunc="max")
        .reindex(columns=[True, False])
    )
    return bool((best[True] <= best[False]).any())


def score_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of a card as a table for people, the untouched drugs first."""
    table = scores.sort_values(["part", "readout", "pcc"], ascending=[True, True, False])
    return pd.DataFrame(
        {
            "Tested on": table["part"].map(PARTS).fillna(table["part"]),
            "Read-out": table["readout"],
            "Model": table["scored"],
            "PCC": table["pcc"],
            "95 % interval": [
                limits_text(low, high)
                for low, high in zip(table["low"], table["high"], strict=True)
            ],
            "Measurements": table["rows"].astype("Int64"),
            "Drugs": table["drugs"].astype("Int64"),
        }
    )
