"""Where predictions of patients err: by how much each gene changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import bootstrap_mean
from xpert_core.explanation.response import Changes
from xpert_core.prediction.records import X_DEG_UNIT

NO_CHANGE, COHORT_MEAN = "no change (0)", "mean of the other patients"


def error_by_size(
    measured: Changes, models: Sequence[Changes], *, strata: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Error of predictions by how much the gene changed in the patient.

    Beside the models stand two predictions that know nothing of the drug or the patient: no change
    at all, and the mean measured change of the other patients.

    Parameters
    ----------
    measured : Changes
    models : sequence of Changes
        On the same patients and genes (`on_common`).
    strata : int
        Equal numbers of values, from the smallest to the largest absolute change.
    seed : int
        Of the bootstrap over patients.

    Returns
    -------
    DataFrame
        Columns ``source``, ``stratum`` (1 = smallest), ``from``, ``to`` (absolute measured
        change), ``values``, ``mae`` with ``low`` and ``high`` (95 %, patients resampled),
        ``rmse``, ``bias`` (mean of predicted minus measured, toward the measured sign),
        ``direction`` (share of right signs; NaN for no change).

    Raises
    ------
    DataError
        If the sources differ in patients, genes or unit.
    """
    for model in models:
        if (model.patients, model.genes) != (measured.patients, measured.genes):
            raise DataError(
                "Measured and predicted changes are not of the same patients and genes.",
                where=model.source,
                fix="Bring them together with on_common first.",
            )
        if (measured.unit == X_DEG_UNIT) != (model.unit == X_DEG_UNIT) and "z" in measured.unit:
            raise DataError(
                "Measured changes are differences of z-scores; predictions are log2.",
                where=measured.source,
                fix="Give measured values on the log2 scale.",
            )
    truth = measured.x_deg
    known = ~np.isnan(truth)
    size = np.abs(truth)
    edges = np.quantile(size[known], np.linspace(0, 1, strata + 1))
    stratum = np.clip(np.searchsorted(edges, size, side="right"), 1, strata)
    others = {NO_CHANGE: np.zeros_like(truth), COHORT_MEAN: _mean_of_others(truth)}
    predicted = {**{m.source: m.x_deg for m in models}, **others}
    patients = np.repeat(np.arange(len(truth))[:, None], truth.shape[1], axis=1)
    records = []
    for source, values in predicted.items():
        for number in range(1, strata + 1):
            inside = known & (stratum == number) & ~np.isnan(values)
            if inside.any():
                found = _errors(truth[inside], values[inside], patients[inside], seed)
                span = {"from": edges[number - 1], "to": edges[number]}
                records.append({"source": source, "stratum": number, **span, **found})
    return pd.DataFrame(records)


def _mean_of_others(values: np.ndarray) -> np.ndarray:
    """Mean of each gene over the other patients; NaN where no other has a value."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=0) - np.where(known, values, 0)
    count = known.sum(axis=0) - known
    return np.divide(total, count, out=np.full(values.shape, np.nan), where=count > 0)


def _errors(
    truth: np.ndarray, predicted: np.ndarray, patients: np.ndarray, seed: int
) -> dict[str, float]:
    difference = predicted - truth
    mae = bootstrap_mean(np.abs(difference), patients, draws=500, seed=seed)
    nothing = not predicted.any()
    return {
        "values": len(truth),
        "mae": mae.mean,
        "low": mae.low,
        "high": mae.high,
        "rmse": float(np.sqrt((difference**2).mean())),
        "bias": float((difference * np.sign(truth)).mean()),
        "direction": np.nan if nothing else float((np.sign(predicted) == np.sign(truth)).mean()),
    }
