"""Predictions with known numbers, for tests of what is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from xpert_core.genes import load_panel
from xpert_core.prediction import Prediction

Value = Callable[[str, float, float], np.ndarray]


def prediction_of(
    value: Value,
    samples: Sequence[str],
    doses: Sequence[float],
    times: Sequence[float] = (24.0,),
    *,
    drug: str = "drug A",
    genes: Sequence[str] = (),
    patients: Sequence[str] | None = None,
    model: str = "model",
) -> Prediction:
    """A whole grid whose x_deg is `value(sample, dose, time)`, one number a gene."""
    symbols = list(genes) or list(load_panel().symbols)
    patient = dict(zip(samples, patients or samples, strict=True))
    rows = [(s, d, t) for s in samples for d in doses for t in times]
    table = pd.DataFrame(
        {
            "sample_id": [s for s, _, _ in rows],
            "patient_id": [patient[s] for s, _, _ in rows],
            "drug": drug,
            "smiles": "",
            "inchikey": "",
            "dose_um": [d for _, d, _ in rows],
            "time_h": [t for _, _, t in rows],
            "n_missing_genes": 0,
            "drug_fallback": "",
        },
        index=pd.Index([f"{s}|{d:g}|{t:g}" for s, d, t in rows], name="row_id"),
    )
    x_deg = np.array([value(*row) for row in rows], dtype=np.float32)
    frame = pd.DataFrame(
        {"entrez_id": range(len(symbols)), "ensembl_id": "", "measured": True},
        index=pd.Index(symbols, name="symbol"),
    )
    about = {"model_name": model, "model_digest": "0" * 64, "cohort": "test"}
    return Prediction(table, frame, x_deg, x_deg + 8, about)
