"""How well replicates of a condition agree: what a score can be held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from xpert_core.benchmark.markdown import Section, interval, table
from xpert_core.benchmark.results import Results, scored_rows
from xpert_core.benchmark.tables import unit_of
from xpert_core.evaluation.metrics import bootstrap_mean, noise_ceiling
from xpert_core.evaluation.metrics.intervals import Score
from xpert_core.learning.folds import Folds
from xpert_core.learning.splits import drug_groups
from xpert_core.tokens.dataset import READOUTS, TrainingData

LABEL = "replicates of the same condition"


def conditions_of(data: TrainingData) -> np.ndarray:
    """Number of each row's condition (cell line, drug, dose, time, read-out), shape (N,)."""
    columns = (
        data.cell_index,
        np.asarray(drug_groups(data))[data.drug_index],
        data.dose_um,
        data.time_h,
        data.readout,
    )
    keys = np.stack([c.astype(np.float64) for c in columns], axis=1)
    found: np.ndarray = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return found


def agreement_rows(data: TrainingData, condition: np.ndarray) -> np.ndarray:
    """PCC of each row with the mean of the other rows of its condition; NaN without others.

    Parameters
    ----------
    data : TrainingData
    condition : ndarray of int, shape (N,)

    Returns
    -------
    ndarray of float64, shape (N,)
    """
    found = np.full(len(data), np.nan)
    repeated = np.flatnonzero(np.bincount(condition)[condition] > 1)
    # Rows without a replicate are left out first: they need no memory.
    values = noise_ceiling(data.x_deg[repeated], condition[repeated]) if len(repeated) else None
    if values is not None:
        found[repeated] = values
    return found


def pair_rows(data: TrainingData, condition: np.ndarray) -> np.ndarray:
    """Mean PCC of each row with every other single row of its condition; NaN without others.

    Averaged over the rows of a condition it is the mean over its pairs of replicates. A row against
    one other carries the noise of two measurements, so a prediction without noise would reach the
    square root of it (Spearman's correction for attenuation); `agreement_rows` averages noise away
    on one side, by how much depends on the number of replicates.

    Parameters
    ----------
    data : TrainingData
    condition : ndarray of int, shape (N,)

    Returns
    -------
    ndarray of float64, shape (N,)
        A constant row correlates 0 with any other.
    """
    found = np.full(len(data), np.nan)
    repeated = np.flatnonzero(np.bincount(condition)[condition] > 1)
    _, group, count = np.unique(condition[repeated], return_inverse=True, return_counts=True)
    if not len(repeated):
        return found
    unit = data.x_deg[repeated].astype(np.float64)
    unit -= unit.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(unit, axis=1, keepdims=True)
    unit = np.divide(unit, norm, out=np.zeros_like(unit), where=norm > 0)
    sums = np.zeros((len(count), unit.shape[1]))
    np.add.at(sums, group, unit)
    # Without the product of the row with itself.
    products = np.einsum("ij,ij->i", unit, sums[group]) - np.einsum("ij,ij->i", unit, unit)
    found[repeated] = products / (count[group] - 1)
    return found


def reachable(pairs: np.ndarray) -> float:
    """PCC that a model without noise could reach, from `pair_rows` of the scored rows; 0 or more.

    The root is taken of the mean over rows: a single condition's estimate is noisy, and the mean of
    roots would be too low. Where conditions differ in noise it is a little too high.
    """
    return float(np.sqrt(max(pairs.mean(), 0.0)))


def without_plates(data: TrainingData, train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """x_deg less the mean change of the training rows of the same control profile and read-out.

    What a model can know of a plate, from other wells of it: rows of one control profile share the
    plate's effect and the control's noise.

    Parameters
    ----------
    data : TrainingData
    train, rows : ndarray of int64
        `rows` are no training rows: a row is not part of what is taken from it.

    Returns
    -------
    ndarray of float32, shape (len(rows), G)
        NaN where the control profile has no training row of the read-out.
    """
    plate = data.profile_index * len(READOUTS) + data.readout
    names, index = np.unique(plate[train], return_inverse=True)
    sums = np.zeros((len(names), data.x_deg.shape[1]))
    np.add.at(sums, index, data.x_deg[train])
    means = sums / np.bincount(index, minlength=len(names))[:, None]
    place = np.clip(np.searchsorted(names, plate[rows]), 0, len(names) - 1)
    known = names[place] == plate[rows]
    found: np.ndarray = np.where(known[:, None], data.x_deg[rows] - means[place], np.nan)
    return found.astype(np.float32)


def plate_agreement(
    data: TrainingData, condition: np.ndarray, folds: Folds, tested: pd.DataFrame
) -> np.ndarray:
    """Agreement of replicates once what the training rows say of their plates is taken from each.

    Parameters
    ----------
    data : TrainingData
    condition : ndarray of int, shape (N,)
    folds : Folds
    tested : DataFrame
        Columns ``fold`` (from 1) and ``row``.

    Returns
    -------
    ndarray of float64, shape (N,)
        As `agreement_rows`, among the rows that a fold tests; mean over the folds that test a row.
        NaN without a replicate of which the same can be said.
    """
    total, count = np.zeros(len(data)), np.zeros(len(data))
    for fold, own in tested.groupby("fold"):
        rows = scored_rows(own)
        left = without_plates(data, folds.split(int(str(fold)) - 1).train, rows)
        known = ~np.isnan(left).any(axis=1)
        rows, left = rows[known], left[known]
        values = noise_ceiling(left, condition[rows]) if len(rows) else None
        if values is not None:
            defined = ~np.isnan(values)
            total[rows[defined]] += values[defined]
            count[rows[defined]] += 1
    return np.divide(total, count, out=np.full(len(data), np.nan), where=count > 0)


def ceiling_table(results: Results) -> pd.DataFrame:
    """Agreement of replicates among the scored rows of each scenario and read-out.

    Returns
    -------
    DataFrame
        Columns ``scenario``, ``readout``, ``mean``, ``low``, ``high`` (95 % bootstrap over the
        unit of the scenario), ``reach`` (see `reachable`), ``rows``, ``conditions``, ``shared``
        (rows that share the control profile of all their replicates), ``model`` (PCC of the main
        model on the same rows); ``plate_mean``, ``plate_low``, ``plate_high``, ``plate_rows``,
        ``plate_conditions``: the same agreement by `plate_agreement`. A place without replicates
        has NaN and 0.
    """
    data = results.data
    condition = conditions_of(data)
    agreement, pairs = agreement_rows(data, condition), pair_rows(data, condition)
    specs = {spec.name: spec for spec in results.config.scenarios}
    lines = []
    for scenario, readout, place in results.places():
        line: dict[str, Any] = {"scenario": scenario, "readout": readout}
        line |= {"rows": 0, "conditions": 0, "shared": 0, "plate_rows": 0, "plate_conditions": 0}
        unit = unit_of(scenario)
        rows, score = _agreed(place, agreement, unit)
        if score is not None:
            own = place[(place["model"] == results.model) & place["row"].isin(rows)]
            line |= {"mean": score.mean, "low": score.low, "high": score.high}
            line |= {"rows": len(rows), "conditions": len(np.unique(condition[rows]))}
            line |= {"reach": reachable(pairs[rows]), "shared": _sharing(data, condition, rows)}
            line["model"] = own["value"].mean()
            folds = results.folds_of(specs[scenario])
            rows, score = _agreed(place, plate_agreement(data, condition, folds, place), unit)
        if score is not None:
            line |= {"plate_mean": score.mean, "plate_low": score.low, "plate_high": score.high}
            line |= {"plate_rows": len(rows), "plate_conditions": len(np.unique(condition[rows]))}
        lines.append(line)
    columns = [
        "scenario", "readout", "mean", "low", "high", "reach", "rows", "conditions", "shared",
        "model", "plate_mean", "plate_low", "plate_high", "plate_rows", "plate_conditions",
    ]  # fmt: skip
    return pd.DataFrame(lines).reindex(columns=columns)


def _agreed(
    place: pd.DataFrame, agreement: np.ndarray, unit: str
) -> tuple[np.ndarray, Score | None]:
    """Scored rows that have replicates, and their agreement over units."""
    rows = scored_rows(place)
    rows = rows[~np.isnan(agreement[rows])]
    if not len(rows):
        return rows, None
    group = place.drop_duplicates("row").set_index("row")[unit]
    return rows, bootstrap_mean(agreement[rows], group.loc[rows].to_numpy())


def _sharing(data: TrainingData, condition: np.ndarray, rows: np.ndarray) -> int:
    controls = pd.Series(data.profile_index).groupby(condition).nunique()
    return int((controls.loc[condition[rows]] == 1).sum())


def section(results: Results, ceilings: pd.DataFrame) -> Section:
    """The section on replicates."""
    lines, bare = [], []
    for _, c in ceilings.iterrows():
        place = f"{c['scenario']}, {c['readout']}"
        if not c["rows"]:
            bare.append(place)
            continue
        lines.append(
            [place, interval(c["mean"], c["low"], c["high"]), f"{c['reach']:.3f}",
             f"{c['conditions']}", f"{c['rows']}", f"{c['shared']}",
             interval(c["model"], np.nan, np.nan),
             interval(c["plate_mean"], c["plate_low"], c["plate_high"]),
             f"{c['plate_conditions']}", f"{c['plate_rows']}"]
        )  # fmt: skip
    text = []
    if lines:
        head = ["scenario", "PCC of replicates", "without noise", "conditions", "rows",
                "of one control", f"{results.model} on these rows", "plates taken off",
                "conditions of it", "rows of it"]  # fmt: skip
        text = [_NOTE, table(head, lines)]
    if bare:
        text.append(f"No condition is measured twice, so there is no ceiling: {'; '.join(bare)}.")
    return Section("What the noise allows", "\n\n".join(text))


_NOTE = """\
Each scored row that has replicates (same cell line, drug, dose, time and read-out) against the
mean of the others: what they say of the next measurement. "Without noise" is about what a model
without noise of its own could reach that knows the condition alone, the square root of the mean PCC
of two single replicates; it is a little high where conditions differ in noise. Rows of one control
share that control's noise, which raises both. **It is no bound for a model that knows the plate**:
replicates on plates of their own differ by the plate's effect and the control's noise, which counts
as noise here, while every model is given the control profile of the row, and can learn from other
rows of the same control what is common to its plate. "Plates taken off": the agreement after the
mean change of the training rows with the same control profile and read-out is taken from each row,
over the rows whose control was trained on, and that have a replicate of which the same is true. A
mean of few training rows brings noise of its own; where a cell line has one control profile for all
its plates, the mean is that of the cell line."""
