"""Numbers of a finished benchmark: scores by fold, differences with intervals, ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from xpert_core.benchmark.runner import Finished
from xpert_core.evaluation.metrics import METRICS, bootstrap_mean
from xpert_core.learning.folds import SCENARIOS
from xpert_core.tokens.dataset import READOUTS

STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
"""Of the paper: p below the first number."""
ORDER = ("scenario", "readout", "model")


def score_table(finished: Sequence[Finished]) -> pd.DataFrame:
    """Every score: a line a scenario, read-out, model, seed, fold and metric."""
    lines = [
        {
            **{k: f.facts[k] for k in ("scenario", "model", "seed", "fold")},
            "readout": readout,
            "metric": metric,
            "value": value,
        }
        for f in finished
        for readout, values in f.facts["values"].items()
        for metric, value in values.items()
    ]
    columns = ["scenario", "readout", "model", "seed", "fold", "metric", "value"]
    return pd.DataFrame(lines, columns=columns)


def fold_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over folds of the mean over seeds.

    Returns
    -------
    DataFrame
        Columns `ORDER`, ``metric``, ``mean``, ``sd`` (NaN for one fold), ``folds``, ``seeds``,
        ``rank`` (1 = best of the models of the scenario and read-out).
    """
    keys = [*ORDER, "metric"]
    seeds = scores.groupby(keys, sort=False)["seed"].nunique().rename("seeds")
    by_fold = scores.groupby([*keys, "fold"], sort=False)["value"].mean()
    over = by_fold.groupby(keys, sort=False).agg(mean="mean", sd="std", folds="count")
    found = over.join(seeds).reset_index()
    up = found["metric"].map(lambda name: METRICS[name].direction == "up")
    signed = np.where(up, -found["mean"], found["mean"])
    places = [found[c] for c in ("scenario", "readout", "metric")]
    found["rank"] = pd.Series(signed).groupby(places).rank(method="min")
    return found


def row_table(finished: Sequence[Finished], metric: str = "pcc") -> pd.DataFrame:
    """A metric of every test row, averaged over seeds.

    Returns
    -------
    DataFrame
        Columns `ORDER`, ``fold``, ``row``, ``drug``, ``cell``, ``value``.
    """
    parts = [
        f.rows[["row", "readout", "drug", "cell"]].assign(
            value=f.rows[metric], **{k: f.facts[k] for k in ("scenario", "model", "fold")}
        )
        for f in finished
    ]
    table = pd.concat(parts, ignore_index=True)
    table["readout"] = table["readout"].map(dict(enumerate(READOUTS)))
    keys = [*ORDER, "fold", "row", "drug", "cell"]
    return table.groupby(keys, sort=False)["value"].mean().reset_index()


def unit_of(scenario: str) -> str:
    """What an interval resamples: the cell line where cell lines are new, else the drug."""
    return "cell" if SCENARIOS[scenario].grouping == "cell" else "drug"


def interval_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over rows with a 95 % bootstrap interval over drugs or cell lines.

    Returns
    -------
    DataFrame
        Columns `ORDER`, ``mean``, ``low``, ``high``, ``rows``, ``unit``, ``groups``.
    """
    lines = []
    for place, own in rows.groupby(list(ORDER), sort=False):
        unit = unit_of(str(place[0]))
        score = bootstrap_mean(own["value"].to_numpy(), own[unit].to_numpy())
        lines.append(
            dict(zip(ORDER, place, strict=True))
            | {
                "mean": score.mean,
                "low": score.low,
                "high": score.high,
                "rows": score.n_rows,
                "unit": unit,
                "groups": score.n_groups,
            }
        )
    return pd.DataFrame(lines)


def difference_table(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    """A model minus each other one on the same test rows.

    Parameters
    ----------
    rows : DataFrame
        From `row_table`.
    model : str

    Returns
    -------
    DataFrame
        Columns `ORDER` (the other model), ``difference``, ``low``, ``high`` (95 % bootstrap over
        drugs or cell lines), ``p`` and ``stars`` (paired t-test over folds, as in the paper; NaN
        below three folds), ``p_holm`` (Holm's correction over the other models of the place).
    """
    from scipy.stats import ttest_rel

    lines = []
    for (scenario, readout), place in rows.groupby(["scenario", "readout"], sort=False):
        keys = ["fold", "row"]
        wide = place.pivot_table(index=keys, columns="model", values="value", sort=False)
        about = place.drop_duplicates(keys).set_index(keys)[[unit_of(str(scenario))]]
        if model not in wide:
            continue
        for other in wide.columns.drop(model):
            both = wide[[model, other]].dropna()
            if both.empty:
                continue
            groups = about.loc[both.index].to_numpy()[:, 0]
            difference = both[model] - both[other]
            score = bootstrap_mean(difference.to_numpy(), groups)
            by_fold = both.groupby("fold").mean()
            enough = len(by_fold) >= 3
            p = float(ttest_rel(by_fold[model], by_fold[other]).pvalue) if enough else np.nan
            lines.append(
                {
                    "scenario": scenario,
                    "readout": readout,
                    "model": other,
                    "difference": score.mean,
                    "low": score.low,
                    "high": score.high,
                    "p": p,
                    "stars": stars(p),
                }
            )
    columns = [*ORDER, "difference", "low", "high", "p", "stars", "p_holm"]
    found = pd.DataFrame(lines).reindex(columns=columns)
    if len(found):
        places = found.groupby(["scenario", "readout"], sort=False)["p"]
        found["p_holm"] = places.transform(lambda p: holm(p.to_numpy()))
    return found


def holm(p: np.ndarray) -> np.ndarray:
    """P-values corrected for their number (Holm 1979); NaN stays and does not count."""
    found = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return found


def stars(p: float) -> str:
    """Star notation of a p-value; "ns" above 0.05, "" for NaN."""
    if np.isnan(p):
        return ""
    return next((text for limit, text in STARS if p < limit), "ns")
