"""Numbers of a finished benchmark: scores by fold, differences with intervals, ranks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.benchmark.markdown import interval
from xpert_core.benchmark.runner import Finished
from xpert_core.errors import DataError
from xpert_core.evaluation.metrics import METRICS, bootstrap_mean
from xpert_core.learning.folds import SCENARIOS, labels_of
from xpert_core.tokens.dataset import READOUTS, TrainingData

STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
"""Of the paper: p below the first number."""
ORDER = ("scenario", "readout", "model")
UNITS = ("scaffold", "cell", "patient", "cancer")
"""Groupings of scenarios that an interval resamples; others resample drugs."""
FEW_GROUPS = 5
"""Below it an interval is a rough guide: a bootstrap of so few groups is too narrow."""
FEWEST_FOLDS = 3
"""Of a paired t-test."""


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


def shared_folds(place: pd.DataFrame, model: str | None) -> frozenset[int]:
    """Folds on which the models of a scenario and read-out are compared.

    Those of the main model; where it has none, all that any model has.

    Parameters
    ----------
    place : DataFrame
        Lines with ``model`` and ``fold``, of one scenario and read-out.
    model : str or None
    """
    own = place.loc[place["model"] == model, "fold"]
    return frozenset(int(f) for f in (own if len(own) else place["fold"]).unique())


def stated(folds: Collection[int]) -> str:
    """Folds as tables give them: ``1, 2``."""
    return ", ".join(str(fold) for fold in sorted(folds))


def fold_table(scores: pd.DataFrame, model: str | None = None) -> pd.DataFrame:
    """Mean and standard deviation over folds of the mean over seeds.

    Parameters
    ----------
    scores : DataFrame
        From `score_table`.
    model : str, optional
        The main model, on whose folds the others are ranked.

    Returns
    -------
    DataFrame
        Columns `ORDER`, ``metric``, ``mean``, ``sd`` (NaN for one fold), ``folds``, ``seeds``,
        ``compared`` (mean over `shared_folds`; NaN for a model that lacks one of them), ``rank``
        in it (1 = best of the models of the scenario and read-out).
    """
    keys = [*ORDER, "metric"]
    seeds = scores.groupby(keys, sort=False)["seed"].nunique().rename("seeds")
    by_fold = scores.groupby([*keys, "fold"], sort=False)["value"].mean()
    over = by_fold.groupby(keys, sort=False).agg(mean="mean", sd="std", folds="count")
    parts = []
    for _, place in by_fold.reset_index().groupby(["scenario", "readout"], sort=False):
        folds = shared_folds(place, model)
        own = place[place["fold"].isin(folds)]
        # Of all metrics: where one is not defined in a fold, the model still ran on it.
        whole = own.groupby("model")["fold"].nunique().eq(len(folds))
        own = own[own["model"].map(whole)]
        parts.append(own.groupby(keys, sort=False)["value"].mean().rename("compared"))
    found = over.join(seeds).join(pd.concat(parts) if parts else over["mean"].rename("compared"))
    found = found.reset_index()
    up = found["metric"].map(lambda name: METRICS[name].direction == "up")
    signed = np.where(up, -found["compared"], found["compared"])
    places = [found[c] for c in ("scenario", "readout", "metric")]
    found["rank"] = pd.Series(signed).groupby(places).rank(method="min")
    return found


def scaffolds_of(finished: Sequence[Finished], data: TrainingData) -> np.ndarray | None:
    """Scaffold of each row of the data, shape (N,); None where no scenario holds scaffolds out.

    From the data, not from the tasks: these store drugs, of which one scaffold can have several.
    """
    asked = any(unit_of(str(f.facts["scenario"])) == "scaffold" for f in finished)
    return labels_of(data).scaffold if asked else None


def row_table(
    finished: Sequence[Finished], metric: str = "pcc", scaffold: np.ndarray | None = None
) -> pd.DataFrame:
    """A metric of every test row, averaged over seeds.

    Parameters
    ----------
    finished : sequence of Finished
    metric : str
    scaffold : ndarray of str, shape (N,), optional
        From `scaffolds_of`; needed where a scenario holds scaffolds out.

    Returns
    -------
    DataFrame
        Columns `ORDER`, ``fold``, ``row``, ``drug``, ``cell``, ``value``, and ``patient``,
        ``cancer`` and ``scaffold`` where they are known.

    Raises
    ------
    DataError
        When a scenario of patients or cancers was stored without them.
    """
    _check_units(finished)
    parts = [
        f.rows[["row", "readout", "drug", "cell"]].assign(
            value=f.rows[metric], **{k: f.facts[k] for k in ("scenario", "model", "fold")}
        )
        for f in finished
    ]
    table = pd.concat(parts, ignore_index=True)
    table["readout"] = table["readout"].map(dict(enumerate(READOUTS)))
    keys = [*ORDER, "fold", "row", "drug", "cell"]
    found = table.groupby(keys, sort=False)["value"].mean().reset_index()
    for name in ("patient", "cancer"):
        known: dict[int, str] = {}
        for f in finished:
            if name in f.rows:
                known |= dict(zip(f.rows["row"], f.rows[name], strict=True))
        if known:
            found[name] = found["row"].map(known).fillna("")
    if scaffold is not None:
        found["scaffold"] = scaffold[found["row"]]
    return found


def _check_units(finished: Sequence[Finished]) -> None:
    for f in finished:
        unit = unit_of(str(f.facts["scenario"]))
        if unit != "scaffold" and unit not in f.rows:
            raise DataError(
                f"Stored results of {f.facts['scenario']} do not name the {unit} of their rows.",
                where=f"{f.facts['model']}, fold {f.facts['fold']}",
                fix="Delete the folder tasks/ of the benchmark and run the same command again.",
            )


def unit_of(scenario: str) -> str:
    """What an interval resamples: the scaffold, cell line, patient or cancer where these are new,
    else the drug.
    """
    grouping = SCENARIOS[scenario].grouping
    return grouping if grouping in UNITS else "drug"


def unit_words(unit: str, count: int) -> str:
    """``one drug``, ``3 cell lines``."""
    word = {"cell": "cell line"}.get(unit, unit)
    return f"one {word}" if count == 1 else f"{count} {word}s"


def with_interval(
    mean: float, low: float, high: float, unit: str, groups: int, *, sign: bool = False
) -> str:
    """A mean and its interval, or how many groups are too few for one."""
    text = interval(mean, low, high, sign=sign)
    return f"{text} ({unit_words(unit, groups)})" if text and groups < 2 else text


def interval_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over rows with a 95 % bootstrap interval over the unit of the scenario.

    Returns
    -------
    DataFrame
        Columns `ORDER`, ``mean``, ``low``, ``high`` (NaN with fewer than two groups), ``rows``,
        ``unit`` (`unit_of`), ``groups`` (how many of it), ``folds`` (`stated`).
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
                "folds": stated(own["fold"].unique()),
            }
        )
    return pd.DataFrame(lines)


def difference_table(rows: pd.DataFrame, model: str, own: Collection[str] = ()) -> pd.DataFrame:
    """A model minus each other one on the same test rows.

    Parameters
    ----------
    rows : DataFrame
        From `row_table`.
    model : str
    own : collection of str
        Other forms of the same model: they do not count among the tests that Holm corrects for.

    Returns
    -------
    DataFrame
        Columns `ORDER` (the other model), ``difference``, ``low``, ``high`` (95 % bootstrap over
        the unit of the scenario; NaN with fewer than two groups), ``p`` and ``stars`` (paired
        t-test over folds, as in the paper; NaN below three folds), ``p_holm`` (Holm's correction
        over the other models of the place), ``rows``, ``unit``, ``groups`` and ``folds`` of the
        rows that both have.
    """
    lines = []
    for (scenario, readout), place in rows.groupby(["scenario", "readout"], sort=False):
        keys = ["fold", "row"]
        wide = place.pivot_table(index=keys, columns="model", values="value", sort=False)
        unit = unit_of(str(scenario))
        about = place.drop_duplicates(keys).set_index(keys)[[unit]]
        if model not in wide:
            continue
        for other in wide.columns.drop(model):
            both = wide[[model, other]].dropna()
            if both.empty:
                continue
            groups = about.loc[both.index].to_numpy()[:, 0]
            head = {"scenario": scenario, "readout": readout, "model": other, "unit": unit}
            lines.append(head | _difference(both[model], both[other], groups))
    columns = [*ORDER, "difference", "low", "high", "p", "stars", "p_holm",
               "rows", "unit", "groups", "folds"]  # fmt: skip
    found = pd.DataFrame(lines).reindex(columns=columns)
    if len(found):
        counted = found["p"].mask(found["model"].isin(list(own)))
        places = counted.groupby([found["scenario"], found["readout"]], sort=False)
        found["p_holm"] = places.transform(lambda p: holm(p.to_numpy()))
    return found


def _difference(own: pd.Series, other: pd.Series, groups: np.ndarray) -> dict[str, Any]:
    """One model minus another on rows that both have, indexed by ``fold`` and ``row``."""
    from scipy.stats import ttest_rel

    score = bootstrap_mean((own - other).to_numpy(), groups)
    one, two = (values.groupby("fold").mean() for values in (own, other))
    p = float(ttest_rel(one, two).pvalue) if len(one) >= FEWEST_FOLDS else np.nan
    return {
        "difference": score.mean,
        "low": score.low,
        "high": score.high,
        "p": p,
        "stars": stars(p),
        "rows": score.n_rows,
        "groups": score.n_groups,
        "folds": stated(own.index.unique("fold")),
    }


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
