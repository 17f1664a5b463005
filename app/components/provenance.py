"""Where a result comes from, and a sentence for the methods section."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from app.components.exports import download, json_bytes
from app.components.text import count, plain, without_formulas
from xpert_core.conditions import format_dose
from xpert_core.prediction import Prediction
from xpert_core.prediction.records import X_DEG_UNIT

MAX_DRUGS_NAMED = 10


def method_sentence(prediction: Prediction) -> str:
    """What was done, in the words of a methods section."""
    about, rows = prediction.provenance, prediction.rows
    drugs = list(dict.fromkeys(rows["drug"]))
    named = ", ".join(drugs[:MAX_DRUGS_NAMED])
    if len(drugs) > MAX_DRUGS_NAMED:
        named += f" and {len(drugs) - MAX_DRUGS_NAMED} more"
    doses = ", ".join(format_dose(dose) for dose in sorted(set(rows["dose_um"])))
    times = ", ".join(f"{time:g} h" for time in sorted(set(rows["time_h"])))
    genes = about["genes"]
    graph = about.get("graph_digest", "")
    biology = f"; drugs placed in a knowledge graph by encoder {graph[:12]}" if graph else ""
    return (
        f"Changes in gene expression were predicted with XPert {about['versions']['xpert']} "
        f"(model {about['model_name']}, checkpoint {about['model_digest'][:12]}; drug structures "
        f"encoded by {about['featurizer']}, {about['featurizer_digest'][:12]}{biology}) for "
        f"{count(rows['sample_id'].nunique(), 'pretreatment profile')} of {about['cohort']} "
        f"(SHA-256 {about['input_sha256'][:12]}; values read as {about['scale']}, transform "
        f"{about['scale_transform']}; {genes['found']} of {genes['panel_size']} landmark genes "
        f"found) exposed in silico to {named} at {doses} for {times}. Predicted changes are "
        f"{X_DEG_UNIT}."
    )


def flat_items(record: dict[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Nested provenance as (name, value) lines."""
    items: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            items += flat_items(value, f"{name}: ")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            items.append((name, text))
    return items


def made_with(about: Mapping[str, Any], stem: str, key: str) -> None:
    """Model and cohort of an explanation in a line, and the whole provenance as a file.

    Parameters
    ----------
    about : mapping
        As `Prediction.provenance`.
    stem : str
        File name without suffix.
    key : str
        Of the button.
    """
    left, right = st.columns([4, 1])
    name, digest = plain(str(about["model_name"])), str(about["model_digest"])[:12]
    left.caption(f"Model {name}, checkpoint {digest}; cohort {plain(str(about['cohort']))}.")
    with right:
        make = partial(json_bytes, dict(about))
        download("Provenance", make, f"{stem}_provenance.json", f"provenance-{key}")


def provenance_panel(prediction: Prediction) -> None:
    """Draw the provenance table."""
    items = flat_items(prediction.provenance)
    st.dataframe(
        without_formulas(pd.DataFrame(items, columns=["Item", "Value"])),
        hide_index=True,
        column_config={"Value": st.column_config.TextColumn(width="large")},
        alt="Provenance of this result: input, genes, model and software versions",
    )
