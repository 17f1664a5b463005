"""Score the predictions of a task, each read-out by itself, and the profiles they imply."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pandas as pd

from xpert_core.baselines.simple import MeanOfCell
from xpert_core.evaluation.metrics import METRICS, Context, evaluate
from xpert_core.tokens.dataset import READOUTS, TrainingData

Values: TypeAlias = dict[str, dict[str, float]]

IMPLIED, HEAD = "control + x_deg", "own head"
"""How a prediction of x_pert was made: by every model, and by a network trained for x_pert too."""
ROW_PCC = {IMPLIED: "x_pert_pcc", HEAD: "x_pert_head_pcc"}
"""Columns of a task's rows with the PCC of x_pert."""


def score_x_deg(
    data: TrainingData, train: np.ndarray, test: np.ndarray, predicted: np.ndarray
) -> tuple[Values, pd.DataFrame]:
    """Every metric of predicted changes.

    Parameters
    ----------
    data : TrainingData
    train, test : ndarray of int64
        Training rows, whose mean change centres some metrics; rows that were predicted.
    predicted : ndarray of float32, shape (len(test), G)

    Returns
    -------
    dict
        Metric by read-out.
    DataFrame
        See `runner.Finished.rows`.
    """
    values, tables = {}, []
    for readout, label in enumerate(READOUTS):
        chosen = data.readout[test] == readout
        if not chosen.any():
            continue
        rows = test[chosen]
        scores = evaluate(
            data.x_deg[rows], predicted[chosen], context=context_of(data, train, rows)
        )
        values[label] = {name: score.value for name, score in scores.items()}
        table = {
            "row": rows,
            "readout": readout,
            "drug": np.array(data.drug_keys)[data.drug_index[rows]],
            "cell": np.array(data.cells)[data.cell_index[rows]],
        }
        for name, labels in (("patient", data.patients), ("cancer", data.cancers)):
            if labels:
                table[name] = np.array(labels)[rows]
        table |= {n: s.each for n, s in scores.items() if METRICS[n].unit == "row"}
        tables.append(pd.DataFrame(table))
    return values, pd.concat(tables, ignore_index=True)


def score_x_pert(
    data: TrainingData, test: np.ndarray, x_deg: np.ndarray, head: np.ndarray | None = None
) -> tuple[Values, pd.DataFrame]:
    """Metrics of profiles after treatment, where these were measured.

    The published code scored control + x_deg alone, and not the head that it had trained for
    x_pert; both are scored here.

    Parameters
    ----------
    data : TrainingData
    test : ndarray of int64, shape (N,)
    x_deg : ndarray of float32, shape (N, G)
        Predicted changes.
    head : ndarray of float32, shape (N, G), optional
        Profiles predicted by a head of their own.

    Returns
    -------
    dict
        Metric by `IMPLIED` and `HEAD`; empty where no profile was measured.
    DataFrame
        ``row`` and the columns of `ROW_PCC`.
    """
    chosen = data.has_x_pert[test]
    rows = test[chosen]
    values: Values = {}
    table = pd.DataFrame({"row": rows})
    if not len(rows):
        return values, table
    control = data.profiles[data.profile_index[rows]]
    predicted = {IMPLIED: control + x_deg[chosen]}
    if head is not None:
        predicted[HEAD] = head[chosen]
    for form, profiles in predicted.items():
        scores = evaluate(control + data.x_deg[rows], profiles, target="x_pert")
        values[form] = {name: score.value for name, score in scores.items()}
        table[ROW_PCC[form]] = scores["pcc"].each
    return values, table


def context_of(data: TrainingData, train: np.ndarray, rows: np.ndarray) -> Context:
    """What the metrics know of rows: the centre is the mean change of the cell's training rows."""
    mean = MeanOfCell()
    mean.fit(data, train, rows[:0])
    return Context(data.drug_index[rows], data.cell_index[rows], mean.predict(data, rows))
