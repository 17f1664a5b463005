"""Scores of predicted profiles: one registry, per-row values, and intervals over drugs or cells."""

from xpert_core.evaluation.metrics.intervals import (
    Score,
    bootstrap_mean,
    bootstrap_means,
    limits_text,
)
from xpert_core.evaluation.metrics.registry import (
    METRICS,
    Context,
    Metric,
    MetricValues,
    evaluate,
)
from xpert_core.evaluation.metrics.rows import pearson_measured, pearson_rows
from xpert_core.evaluation.metrics.sets import noise_ceiling

__all__ = [
    "METRICS",
    "Context",
    "Metric",
    "MetricValues",
    "Score",
    "bootstrap_mean",
    "bootstrap_means",
    "evaluate",
    "limits_text",
    "noise_ceiling",
    "pearson_measured",
    "pearson_rows",
]
