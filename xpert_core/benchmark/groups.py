"""New cell lines grouped by how much they resemble those the model was trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from xpert_core.benchmark.figures import similarity_chart
from xpert_core.benchmark.markdown import Figure, Section, interval, p_value, table
from xpert_core.benchmark.results import Results
from xpert_core.benchmark.tables import ORDER, unit_of
from xpert_core.evaluation.metrics import bootstrap_mean, pearson_rows
from xpert_core.learning.folds import SCENARIOS
from xpert_core.tokens.dataset import TrainingData

GROUPS = ("low", "middle", "high")


def mean_profiles(data: TrainingData, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Mean control profile (log2, shape (G,)) of each cell line of the rows.

    Each distinct control profile counts once, however many rows stand on it.
    """
    pairs = np.unique(np.stack([data.cell_index[rows], data.profile_index[rows]], axis=1), axis=0)
    return {
        data.cells[cell]: data.profiles[pairs[pairs[:, 0] == cell, 1]].mean(
            axis=0, dtype=np.float64
        )
        for cell in np.unique(pairs[:, 0])
    }


def similarity_of(test: dict[str, np.ndarray], training: dict[str, np.ndarray]) -> pd.DataFrame:
    """Similarity of test cell lines to training cell lines.

    The paper groups cell lines by similarity without defining it. Here: Pearson correlation over
    genes of two lines' mean control profiles, after the mean profile of the training lines is taken
    from both, since what all cells have in common would make every pair look alike.

    Parameters
    ----------
    test, training : dict of str to ndarray, shape (G,)
        From `mean_profiles`.

    Returns
    -------
    DataFrame
        Columns ``cell``, ``nearest`` (highest similarity), ``nearest_cell``, ``mean`` (over the
        training lines). NaN with one training line: nothing is left of it after centring.
    """
    names = sorted(training)
    known = np.stack([training[name] for name in names])
    centre = known.mean(axis=0)
    lines = []
    for cell in sorted(test):
        own = np.broadcast_to(test[cell] - centre, known.shape)
        similar = pearson_rows(own, known - centre)
        if len(names) < 2:
            similar = np.full(len(names), np.nan)
        best = int(similar.argmax())
        lines.append(
            {
                "cell": cell,
                "nearest": float(similar[best]),
                "nearest_cell": names[best],
                "mean": float(similar.mean()),
            }
        )
    return pd.DataFrame(lines)


def similarity_table(results: Results) -> pd.DataFrame:
    """Similarity and group of every test cell line of the scenarios that hold out cell lines.

    Returns
    -------
    DataFrame
        Columns ``scenario``, ``fold``, those of `similarity_of`, ``group``: terciles of
        ``nearest`` over all test lines of the scenario, "" where there are fewer than three.
    """
    parts = []
    for spec in results.config.scenarios:
        place = results.rows[results.rows["scenario"] == spec.name]
        if SCENARIOS[spec.name].grouping != "cell" or place.empty:
            continue
        folds = results.folds_of(spec)
        for fold, own in place.groupby("fold"):
            train = mean_profiles(results.data, folds.split(int(str(fold)) - 1).train)
            test = mean_profiles(results.data, own["row"].unique())
            parts.append(similarity_of(test, train).assign(scenario=spec.name, fold=fold))
    columns = ["scenario", "fold", "cell", "nearest", "nearest_cell", "mean", "group"]
    if not parts:
        return pd.DataFrame(columns=columns)
    found = pd.concat(parts, ignore_index=True).sort_values(["scenario", "nearest", "cell"])
    found["group"] = found.groupby("scenario")["nearest"].transform(terciles)
    return found[columns].reset_index(drop=True)


def terciles(ascending: pd.Series) -> list[str]:
    """Group of each value of an ascending series; "" for NaN, for all below three values."""
    n = int(ascending.notna().sum())
    return [GROUPS[3 * i // n] if n >= 3 and i < n else "" for i in range(len(ascending))]


def cell_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over the rows of each cell line: columns `ORDER`, ``fold``, ``cell``, ``value``."""
    return rows.groupby([*ORDER, "fold", "cell"], sort=False)["value"].mean().reset_index()


def group_table(rows: pd.DataFrame, similarity: pd.DataFrame) -> pd.DataFrame:
    """PCC of each model in each group of cell lines, every cell line counting once.

    Returns
    -------
    DataFrame
        Columns `ORDER`, ``group``, ``mean``, ``low``, ``high`` (95 % bootstrap over cell lines),
        ``cells``.
    """
    joined = cell_means(rows).merge(similarity, on=["scenario", "fold", "cell"])
    lines = []
    for place, own in joined[joined["group"] != ""].groupby([*ORDER, "group"], sort=False):
        score = bootstrap_mean(own["value"].to_numpy(), own["cell"].to_numpy())
        lines.append(
            dict(zip([*ORDER, "group"], place, strict=True))
            | {
                "mean": score.mean,
                "low": score.low,
                "high": score.high,
                "cells": score.n_groups,
            }
        )
    columns = [*ORDER, "group", "mean", "low", "high", "cells"]
    return pd.DataFrame(lines, columns=columns)


def trend_table(rows: pd.DataFrame, similarity: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation over cell lines of similarity and PCC.

    Returns
    -------
    DataFrame
        Columns `ORDER`, ``cells``, ``nearest``, ``p_nearest``, ``mean``, ``p_mean``; NaN with
        fewer than three lines, or where a model scores all lines alike.
    """
    from scipy.stats import spearmanr

    joined = cell_means(rows).merge(similarity, on=["scenario", "fold", "cell"])
    lines = []
    for place, own in joined.groupby(list(ORDER), sort=False):
        line = dict(zip(ORDER, place, strict=True)) | {"cells": len(own)}
        for name in ("nearest", "mean"):
            known = own.dropna(subset=name)
            enough = len(known) >= 3 and known["value"].nunique() > 1
            found = spearmanr(known[name], known["value"]) if enough else (np.nan, np.nan)
            line |= {name: float(found[0]), f"p_{name}": float(found[1])}
        lines.append(line)
    columns = [*ORDER, "cells", "nearest", "p_nearest", "mean", "p_mean"]
    return pd.DataFrame(lines, columns=columns)


def section(results: Results) -> Section | None:
    """The section on similarity; None where no scenario holds out cell lines."""
    similarity = similarity_table(results)
    if similarity.empty:
        return None
    rows = results.rows[results.rows["scenario"].isin(similarity["scenario"].unique())]
    grouped, trends = group_table(rows, similarity), trend_table(rows, similarity)
    means = cell_means(rows).merge(similarity, on=["scenario", "fold", "cell"])
    text, figures = [_NOTE], list[Figure]()
    for scenario, readout, _ in results.places():
        own = results.at(trends, scenario, readout)
        if own.empty or unit_of(scenario) != "cell":
            continue
        text += [f"**{scenario}, {readout}**", _lines(results.at(grouped, scenario, readout), own)]
        best = results.best_other(scenario, readout)
        shown = results.at(means, scenario, readout)
        shown = shown[shown["model"].isin([results.model, best])]
        shown = shown[shown["fold"].isin(results.shared(scenario, readout)["fold"].unique())]
        figures.append(
            Figure(
                f"similarity{len(figures)}",
                similarity_chart(shown, f"{scenario}, {readout}"),
                f"PCC of each new cell line against its similarity to the nearest training line, "
                f"for {' and '.join(filter(None, [results.model, best]))} ({scenario}, {readout}). "
                "The numbers are in similarity.csv and cells.csv.",
            )
        )
    return Section(
        "Cell lines near to and far from the training set",
        "\n\n".join(text),
        tuple(figures),
        {"similarity.csv": similarity, "similarity_groups.csv": grouped},
    )


def _lines(grouped: pd.DataFrame, trends: pd.DataFrame) -> str:
    counts = grouped.groupby("group")["cells"].max()
    shown = [group for group in GROUPS[::-1] if group in counts]
    wide = grouped.pivot_table(index="model", columns="group", values="cells", dropna=False)
    # A model of fewer folds has fewer cell lines, and says how many.
    alike = len(wide.fillna(0).drop_duplicates()) < 2 and trends["cells"].nunique() == 1
    head = ["model", *(f"{group} ({counts[group]})" if alike else group for group in shown),
            "Spearman with nearest", "with mean"]  # fmt: skip
    lines = []
    for _, trend in trends.iterrows():
        own = grouped[grouped["model"] == trend["model"]].set_index("group")
        cells = [
            interval(*own.loc[group, ["mean", "low", "high"]])
            + ("" if alike else f" ({own.loc[group, 'cells']})")
            if group in own.index
            else ""
            for group in shown
        ]
        rho = [
            f"{trend[name]:+.2f} ({p_value(trend[f'p_{name}'])})" if pd.notna(trend[name]) else ""
            for name in ("nearest", "mean")
        ]
        name = str(trend["model"]) + ("" if alike else f" ({trend['cells']} cell lines)")
        lines.append([name, *cells, *rho])
    return table(head, lines)


_NOTE = """\
Similarity of a new cell line to a training line: Pearson correlation over genes of their mean
control profiles, after the mean profile of the training lines is taken from both (the paper does
not state its own definition). Groups are terciles, over all test lines, of the similarity to the
nearest training line; every line counts once (their number stands in brackets); intervals are
95 % bootstraps over cell lines."""
