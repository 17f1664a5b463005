"""The registry of metrics: what each is called, means, ranges over, and how it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import rows, sets

KS = (10, 20, 50, 100)
"""Sizes K of precision and overlap in the published code."""


@dataclass(frozen=True)
class Context:
    """What some metrics must know of the rows, besides their values.

    Attributes
    ----------
    drug : ndarray, shape (N,)
        Drug of each row.
    place : ndarray, shape (N,)
        Cell line and read-out of each row: drugs are told apart within one.
    centre : ndarray, shape (N, G)
        Mean training change of the row's cell line and read-out; of the read-out where the cell
        line was not trained on.
    """

    drug: np.ndarray
    place: np.ndarray
    centre: np.ndarray


Compute = Callable[[np.ndarray, np.ndarray, "Context | None"], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """One score.

    Attributes
    ----------
    name, label : str
        Identifier, and what a table heads it with.
    direction : str
        ``"up"`` (larger is better) or ``"down"``.
    low, high : float
        Ends of its range.
    formula : str
    unit : str
        What `compute` gives a value for: ``"row"`` or ``"gene"``.
    targets : tuple of str
        ``"x_deg"``, ``"x_pert"``.
    compute : callable
        (truth, predicted, context) to values, NaN where the score is not defined.
    finish : callable
        Of the mean of the values: the square root for the RMSE.
    needs_context : bool
    """

    name: str
    label: str
    direction: str
    low: float
    high: float
    formula: str
    unit: str
    compute: Compute
    targets: tuple[str, ...] = ("x_deg", "x_pert")
    finish: Callable[[float], float] = float
    needs_context: bool = False


@dataclass(frozen=True)
class MetricValues:
    """A metric of one set of predictions.

    Attributes
    ----------
    name : str
    value : float
        NaN where no row or gene has a value.
    each : ndarray of float64
        Value of each row, shape (N,), or gene, shape (G,): what an interval resamples.
    """

    name: str
    value: float
    each: np.ndarray


METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> Metric:
    """Add a metric; names are unique."""
    if metric.name in METRICS:
        raise ValueError(f"two metrics named {metric.name}")
    METRICS[metric.name] = metric
    return metric


def _plain(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Compute:
    return lambda truth, predicted, _: function(truth, predicted)


def _hits(
    truth: np.ndarray,
    predicted: np.ndarray,
    _: Context | None,
    *,
    k: int,
    truth_set: int | None,
    prepare: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    return rows.hits_rows(prepare(truth), prepare(predicted), k, truth_set)


def _centred(truth: np.ndarray, predicted: np.ndarray, context: Context | None) -> np.ndarray:
    assert context is not None
    return rows.pearson_rows(truth - context.centre, predicted - context.centre)


def _discriminated(truth: np.ndarray, predicted: np.ndarray, context: Context | None) -> np.ndarray:
    assert context is not None
    return sets.discrimination_rows(truth, predicted, context.drug, context.place)


def _per_drug(truth: np.ndarray, predicted: np.ndarray, context: Context | None) -> np.ndarray:
    """PCC of each row, weighted so that the mean over rows is the mean over drugs."""
    assert context is not None
    drugs, index, count = np.unique(context.drug, return_inverse=True, return_counts=True)
    pcc = rows.pearson_rows(truth, predicted)
    found: np.ndarray = pcc * (len(pcc) / len(drugs)) / count[index]
    return found


_UP, _DOWN = ("up", -1.0, 1.0), ("down", 0.0, math.inf)
for _metric in (
    Metric(
        "mse", "MSE", *_DOWN, "mean over rows and genes of (x - y)^2", "row",
        _plain(rows.mean_squared_rows),
    ),
    Metric(
        "rmse", "RMSE", *_DOWN, "square root of the MSE", "row",
        _plain(rows.mean_squared_rows), finish=math.sqrt,
    ),
    Metric(
        "mae", "MAE", *_DOWN, "mean over rows and genes of |x - y|", "row",
        _plain(rows.mean_absolute_rows),
    ),
    Metric(
        "r2", "R2", "up", -math.inf, 1.0,
        "1 - SS_res / SS_tot of each gene over rows, mean over genes that vary", "gene",
        _plain(sets.r2_genes),
    ),
    Metric(
        "pcc", "PCC", *_UP, "Pearson correlation of each row over genes, mean over rows", "row",
        _plain(rows.pearson_rows),
    ),
    Metric(
        "spearman", "Spearman", *_UP,
        "Spearman correlation of each row over genes (ties: mean rank), mean over rows", "row",
        _plain(rows.spearman_rows),
    ),
    Metric(
        "wasserstein", "Wasserstein", *_DOWN,
        "1-Wasserstein distance of each gene over rows, mean over genes", "gene",
        _plain(sets.wasserstein_genes),
    ),
    Metric(
        "mmd", "MMD", "down", 0.0, 2.0,
        f"squared MMD of each gene over rows, kernel exp(-{sets.GAMMA:g} d^2), mean over genes",
        "gene", _plain(sets.mmd_genes),
    ),
    Metric(
        "pcc_per_drug", "PCC per drug", *_UP, "PCC averaged over the rows of a drug, then drugs",
        "row", _per_drug, targets=("x_deg",), needs_context=True,
    ),
    Metric(
        "pcc_centred", "PCC, cell-centred", *_UP,
        "PCC after the mean training change of the cell line is taken from both; a cell line that "
        "was not trained on has none: the mean of all training rows of the read-out, one vector, "
        "is taken instead", "row",
        _centred, targets=("x_deg",), needs_context=True,
    ),
    Metric(
        "direction", "Direction", "up", 0.0, 1.0,
        "share of genes changed by more than the row's RMS whose sign is right", "row",
        _plain(rows.direction_rows), targets=("x_deg",),
    ),
    Metric(
        "discrimination", "Discrimination", "up", 0.0, 1.0,
        "share of other drugs in the cell line farther (L1) from the prediction; chance 0.5",
        "row", _discriminated, targets=("x_deg",), needs_context=True,
    ),
):  # fmt: skip
    register(_metric)

for _k in KS:
    register(
        Metric(
            f"overlap_{_k}", f"Overlap@{_k}", "up", 0.0, 1.0,
            f"share of the {_k} most changed genes (either sign) predicted as such", "row",
            partial(_hits, k=_k, truth_set=None, prepare=np.abs), targets=("x_deg",),
        )
    )  # fmt: skip
    for _sign, _word, _prepare in (
        ("positive", "highest", np.positive),
        ("negative", "lowest", np.negative),
    ):
        register(
            Metric(
                f"{_sign}_precision_{_k}", f"{_sign.title()} P@{_k}", "up", 0.0, 1.0,
                f"share of the {_k} {_word} predicted genes among the {_k} {_word} true ones "
                "(equations 25 and 26)", "row",
                partial(_hits, k=_k, truth_set=None, prepare=_prepare),
            )
        )  # fmt: skip
        register(
            Metric(
                f"{_sign}_precision_{_k}_of_100", f"{_sign.title()} P@{_k} of 100", "up", 0.0, 1.0,
                f"share of the {_k} {_word} predicted genes among the {rows.TRUTH_SET} {_word} "
                "true ones (published code)", "row",
                partial(_hits, k=_k, truth_set=rows.TRUTH_SET, prepare=_prepare),
            )
        )  # fmt: skip


def evaluate(
    truth: np.ndarray,
    predicted: np.ndarray,
    *,
    target: str = "x_deg",
    context: Context | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, MetricValues]:
    """Compute metrics of one set of predictions.

    Parameters
    ----------
    truth, predicted : ndarray, shape (N, G)
    target : str
        ``"x_deg"`` or ``"x_pert"``.
    context : Context, optional
        Without it, metrics that need one are left out.
    names : sequence of str, optional
        Default: all of `METRICS` that apply.

    Returns
    -------
    dict of str to MetricValues
        In the order of the registry. Nothing is rounded.

    Raises
    ------
    DataError
        On shapes that differ, no row, a value that is no number, or an unknown name.
    """
    _check(truth, predicted)
    unknown = sorted(set(names or ()) - METRICS.keys())
    if unknown:
        raise DataError(
            f"Unknown metrics: {', '.join(unknown)}.", fix=f"Known: {', '.join(METRICS)}."
        )
    found = {}
    for name, metric in METRICS.items():
        applies = target in metric.targets and (context is not None or not metric.needs_context)
        if applies and (names is None or name in names):
            each = metric.compute(truth, predicted, context)
            defined = each[~np.isnan(each)]
            value = metric.finish(float(defined.mean())) if len(defined) else math.nan
            found[name] = MetricValues(name, value, each)
    return found


def _check(truth: np.ndarray, predicted: np.ndarray) -> None:
    if truth.shape != predicted.shape or truth.ndim != 2 or not truth.size:
        raise DataError(
            "Truth and prediction must be two tables of the same shape.",
            where=f"truth {truth.shape}, prediction {predicted.shape}",
            fix="Predict exactly the rows and genes of the truth.",
        )
    for name, values in (("truth", truth), ("prediction", predicted)):
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise DataError(
                f"The {name} holds values that are no numbers.",
                where=f"{int(bad.sum())} of {len(bad)} rows, first row {int(bad.argmax())}",
                fix="Leave these rows out, or mend what made them.",
            )
