"""The section on profiles after treatment (x_pert)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from xpert_core.benchmark.markdown import Section, place_of, table
from xpert_core.benchmark.results import Results, forms_of, matched_tasks, seed_by_seed
from xpert_core.benchmark.runner import Finished
from xpert_core.benchmark.scoring import HEAD, ROW_PCC
from xpert_core.benchmark.tables import difference_table, interval_table, row_table, with_interval
from xpert_core.evaluation.metrics import METRICS

SHOWN = ("spearman", "rmse", "mae", "r2", "mmd", "wasserstein")
"""Metrics beside the PCC; x_pert.csv has all."""

_NOTE = """\
x_pert is the profile after treatment, where it was measured. Every model implies one: control
profile + predicted x_deg. XPert has a head of its own for it, scored as a line of its own. The
control copy is the null: a profile after treatment is mostly the profile before it, so a high score
here says little, and the scores of x_deg above are those to judge a model by. Intervals as there.
Tasks stored before x_pert was scored are in it only if their predictions were kept."""


def x_pert_scores(finished: Sequence[Finished]) -> pd.DataFrame:
    """Every score of x_pert: a line a scenario, model, form, seed, fold and metric."""
    return pd.DataFrame(
        [
            {
                **{k: f.facts[k] for k in ("scenario", "model", "seed", "fold")},
                "form": form,
                "metric": metric,
                "value": value,
            }
            for f in finished
            for form, values in f.facts.get("x_pert", {}).items()
            for metric, value in values.items()
        ]
    )


def x_pert_rows(finished: Sequence[Finished], scaffold: np.ndarray | None = None) -> pd.DataFrame:
    """PCC of x_pert of every row, as `tables.row_table`; a head of its own is another model."""
    parts = []
    for form, column in ROW_PCC.items():
        known = [f for f in finished if column in f.rows and f.rows[column].notna().any()]
        if known:
            rows = row_table(known, column, scaffold).dropna(subset=["value"])
            parts.append(rows.assign(model=rows["model"].map(lambda name, f=form: line(name, f))))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _of_forms(results: Results) -> dict[str, pd.DataFrame]:
    """Rows of the main model and of each other form, of the seeds that both have."""
    found = {}
    for form in forms_of(results.config, results.own):
        tasks = matched_tasks(results.finished, results.model, form)
        rows = x_pert_rows(tasks, results.scaffold)
        for name in (form, line(form, HEAD)):
            if len(rows) and name in set(rows["model"]):
                found[name] = rows[rows["model"].isin([results.model, name])]
    return found


def line(model: str, form: str) -> str:
    """Name of a model's line."""
    return f"{model}, {HEAD}" if form == HEAD else model


def section(results: Results) -> Section | None:
    """PCC with intervals and the other metrics, by scenario; None where nothing was measured."""
    rows, scores = x_pert_rows(results.finished, results.scaffold), x_pert_scores(results.finished)
    if rows.empty:
        return None
    intervals = interval_table(rows)
    differences = seed_by_seed(
        difference_table(rows, results.model, results.own), results.model, _of_forms(results)
    )
    scores["line"] = [line(m, f) for m, f in zip(scores["model"], scores["form"], strict=True)]
    # Seeds first, so that a fold with more of them does not count more.
    means = scores.groupby(["scenario", "line", "metric", "fold"], sort=False)["value"].mean()
    of: dict[Any, float] = (
        means.groupby(["scenario", "line", "metric"], sort=False).mean().to_dict()
    )
    text = [_NOTE]
    for (scenario, readout), place in intervals.groupby(["scenario", "readout"], sort=False):
        near = differences[
            (differences["scenario"] == scenario) & (differences["readout"] == readout)
        ].set_index("model")
        body = []
        for _, score in place.sort_values("mean", ascending=False, kind="stable").iterrows():
            name = str(score["model"])
            pcc = with_interval(
                score["mean"], score["low"], score["high"], score["unit"], score["groups"]
            )
            minus = ""
            if name in near.index:
                d: Any = near.loc[name]
                minus = with_interval(
                    d["difference"], d["low"], d["high"], d["unit"], d["groups"], sign=True
                )
            others = [f"{of[scenario, name, metric]:.3f}" for metric in SHOWN]
            body.append([name, pcc, minus, *others, score["folds"]])
        head = ["model", "PCC", f"{results.model} minus it"]
        head += [METRICS[name].label for name in SHOWN]
        text += [place_of(str(scenario), str(readout)), table([*head, "folds"], body)]
    return Section(
        "Profiles after treatment (x_pert)", "\n\n".join(text), (), {"x_pert.csv": scores}
    )
