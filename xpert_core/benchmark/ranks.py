"""Places of the models in each metric, the second best, and the gain over TranSiGen."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xpert_core.benchmark.figures import rank_chart
from xpert_core.benchmark.markdown import Figure, Section, p_value, place_of, table
from xpert_core.benchmark.results import SHOWN, Results
from xpert_core.benchmark.tables import with_interval
from xpert_core.evaluation.metrics import METRICS

REFERENCE = "transigen"
"""Kind of the model that the paper states its average gain over."""
PAPER = (
    "mse",
    "rmse",
    "mae",
    "r2",
    "pcc",
    "spearman",
    "wasserstein",
    "mmd",
    "positive_precision_20",
    "negative_precision_20",
)
"""Metrics of the paper ("Evaluation metrics"), over which its gain is averaged; precision by its
formula, with a truth set of 20, not by its code (of 100)."""


def rank_table(folds: pd.DataFrame) -> pd.DataFrame:
    """Ranks in every metric.

    Parameters
    ----------
    folds : DataFrame
        From `fold_table`.

    Returns
    -------
    DataFrame
        Columns ``scenario``, ``readout``, ``model``, ``metric`` (identifier), ``label``, ``mean``
        (over the main model's folds), ``rank`` (1 = best, ties share the better place). Both are
        NaN where the score is not defined, or for a model that lacks one of these folds. Metrics
        of the report's tables come first.
    """
    order = [*SHOWN, *(name for name in METRICS if name not in SHOWN)]
    found = folds.assign(order=folds["metric"].map(order.index))
    found = found.sort_values("order", kind="stable")
    found["label"] = found["metric"].map(lambda name: METRICS[name].label)
    found["mean"] = found["compared"]
    columns = ["scenario", "readout", "model", "metric", "label", "mean", "rank"]
    return found[columns].reset_index(drop=True)


def gain_table(folds: pd.DataFrame, model: str, reference: str) -> pd.DataFrame:
    """Relative gain of a model over another in each metric of the paper.

    Returns
    -------
    DataFrame
        Columns ``scenario``, ``readout``, ``metric``, ``gain``: difference of the means over
        the main model's folds in the good direction of the metric, divided by the absolute value
        of the reference's; NaN where that is 0 or not defined, or a fold is missing.
    """
    places = ["scenario", "readout", "metric"]
    asked = folds[folds["metric"].isin(PAPER)]
    wide = asked.pivot_table(index=places, columns="model", values="compared", sort=False)
    if not {model, reference} <= set(wide.columns):
        return pd.DataFrame(columns=[*places, "gain"])
    wide = wide.dropna(subset=[model, reference]).reset_index()
    up = wide["metric"].map(lambda name: 1.0 if METRICS[name].direction == "up" else -1.0)
    base = wide[reference].abs()
    wide["gain"] = up * (wide[model] - wide[reference]) / base.where(base > 0)
    return wide[[*places, "gain"]].rename_axis(columns=None)


def section(results: Results) -> Section:
    """The section on ranks."""
    ranks = rank_table(results.folds)
    names = [m.name for m in results.config.models if m.kind == REFERENCE and m.drug == "true"]
    gains = gain_table(results.folds, results.model, names[0]) if names else pd.DataFrame()
    metrics = ranks["metric"].unique()
    shown = sum(name in SHOWN for name in metrics)
    paper = ", ".join(METRICS[name].label for name in PAPER)
    text: list[str] = [_NOTE.format(shown=shown, all=len(metrics), paper=paper)]
    ranked = []
    for scenario, readout, _ in results.places():
        left = results.left_out(scenario, readout)
        own = results.at(ranks, scenario, readout)
        own = own[~own["model"].isin(list(left)) & own["metric"].isin(SHOWN)]
        ranked.append(own)
        text += [place_of(scenario, readout), _lines(own), _left_out(left, results.model)]
        text.append(_second(results, scenario, readout))
        if len(gains) and names[0] != results.model:
            text.append(_gain(results.at(gains, scenario, readout)["gain"], results.model))
    figure = Figure(
        "ranks",
        rank_chart(pd.concat(ranked)),
        "Rank of every model in each metric of the tables below, 1 for the best. The numbers are "
        "there, and those of all metrics in ranks.csv.",
    )
    return Section("Ranks", "\n\n".join(filter(None, text)), (figure,), {"ranks.csv": ranks})


def _lines(ranks: pd.DataFrame) -> str:
    wide = ranks.pivot_table(
        index="model", columns="label", values="rank", sort=False, dropna=False
    )
    mean = wide.mean(axis=1).sort_values(kind="stable")
    lines = [
        [str(model), *(f"{r:.0f}" if pd.notna(r) else "" for r in own), f"{own.mean():.1f}"]
        for model, own in wide.loc[mean.index].iterrows()
    ]
    return table(["model", *map(str, wide.columns), "mean"], lines)


def _left_out(left: dict[str, str], model: str) -> str:
    if not left:
        return ""
    names = "; ".join(f"{name} (fold {folds})" for name, folds in left.items())
    return f"Not ranked, for want of a fold of {model}: {names}."


def _second(results: Results, scenario: str, readout: str) -> str:
    """The main model against the best of the others."""
    best = results.best_other(scenario, readout)
    near = results.at(results.differences, scenario, readout)
    own = near[near["model"] == best]
    if own.empty:
        return ""
    d = own.iloc[0]
    test = "with fewer than three folds there is no paired t-test"
    if pd.notna(d["p"]):
        test = f"paired t over folds {p_value(d['p'])} {d['stars']}, Holm {p_value(d['p_holm'])}"
    apart = with_interval(d["difference"], d["low"], d["high"], d["unit"], d["groups"], sign=True)
    return f"{results.model} minus the best of the others, {best}: PCC {apart}; {test}."


def _gain(gains: pd.Series, model: str) -> str:
    known = gains.dropna()
    if known.empty:
        return ""
    return (
        f"Average gain of {model} over TranSiGen: {100 * np.mean(known):+.1f} % over "
        f"{len(known)} of the paper's {len(PAPER)} metrics (median {100 * np.median(known):+.1f} "
        f"%; better in {int((known > 0).sum())})."
    )


_NOTE = """\
Rank in the mean over the folds of the main model, 1 for the best, among the models that ran on all
of them; other forms of XPert take places too, but are none of the others it is compared with. The
paired t-test over folds and its stars are the paper's; the folds share training rows, so it errs
towards small p. Holm: corrected for the number of other models, other forms of XPert not counted.
The tables show {shown} of {all} metrics, and their mean is over these; ranks.csv has all. The
relative gain is over the paper's metrics: {paper}
(precision by the paper's formula, with a truth set of 20 genes, not by its code, with 100). A gain
is large where the other score is near 0: read the median too."""
