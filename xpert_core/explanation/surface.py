"""The dose x time surface of a gene: interpolated, with what the training data cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import RBFInterpolator

from xpert_core.errors import ConditionError
from xpert_core.explanation.dose_time import DoseTimeGrid
from xpert_core.explanation.training_conditions import TrainingConditions

KERNEL = "thin_plate_spline"


@dataclass(frozen=True)
class Surface:
    """Mean predicted change of a gene, or a gene set, over dose and time.

    Attributes
    ----------
    name, drug : str
    doses : ndarray of float64, shape (D,)
        Micromolar, evenly spaced on the log scale.
    times : ndarray of float64, shape (T,)
        Hours, evenly spaced on the log scale.
    values : ndarray of float64, shape (T, D)
        Mean change over samples, interpolated.
    supported : ndarray of bool, shape (T, D)
        Whether training data of any drug lie near; False everywhere when nothing is known.
    points : DataFrame
        The predictions: ``dose_um``, ``time_h``, ``x_deg`` (mean over samples).
    trained : DataFrame
        Training conditions in the range: ``dose_um``, ``time_h``, ``rows``, ``drugs``, ``cells``,
        ``this_drug`` (bool). Empty when nothing is known.
    known : bool
        Whether it is known what the model was trained on.
    error : float
        Root mean square error when each predicted point that is no corner is left out and
        interpolated from the others, log2; NaN where there is none.
    """

    name: str
    drug: str
    doses: np.ndarray
    times: np.ndarray
    values: np.ndarray
    supported: np.ndarray
    points: pd.DataFrame
    trained: pd.DataFrame
    known: bool
    error: float

    def table(self) -> pd.DataFrame:
        """The grid as rows: ``dose_um``, ``time_h``, ``x_deg``, ``training_data_near``."""
        time, dose = np.meshgrid(self.times, self.doses, indexing="ij")
        return pd.DataFrame(
            {
                "dose_um": dose.ravel(),
                "time_h": time.ravel(),
                "x_deg": self.values.ravel(),
                "training_data_near": self.supported.ravel() if self.known else "not known",
            }
        )


def surface(
    grid: DoseTimeGrid,
    name: str,
    genes: Sequence[str],
    conditions: TrainingConditions | None = None,
    drug_key: str = "",
    *,
    size: int = 41,
) -> Surface:
    """Interpolate predictions by radial basis functions on log dose and log time.

    The paper's surfaces (Fig. 4f) are cubic, on the ranks of dose and time, and undefined outside
    the hull of their points. Here the axes are the doses and times themselves, and nothing is
    extrapolated: the surface ends where the predictions end.

    Parameters
    ----------
    grid : DoseTimeGrid
    name : str
        What to call the gene or the set.
    genes : sequence of str
    conditions : TrainingConditions, optional
        What the model was trained on.
    drug_key : str
        Key of the drug in `conditions`, to tell its own training data from those of other drugs.
    size : int
        Points along each axis.

    Raises
    ------
    ConditionError
        If there are fewer than two doses or two times.
    GeneError
        If a gene is not predicted.
    """
    for label, levels in (("doses", grid.doses), ("times", grid.times)):
        if len(levels) < 2:
            raise ConditionError(
                f"A surface needs at least two {label}.",
                where=f"{len(levels)} predicted",
                fix=f"Predict more {label}; three or more of each give a shape.",
            )
    mean = grid.x_deg[..., grid.columns(genes)].mean(axis=(0, 3))
    at_time, at_dose = np.meshgrid(grid.times, grid.doses, indexing="ij")
    points = pd.DataFrame(
        {"dose_um": at_dose.ravel(), "time_h": at_time.ravel(), "x_deg": mean.ravel()}
    )
    doses = np.geomspace(grid.doses[0], grid.doses[-1], size)
    times = np.geomspace(grid.times[0], grid.times[-1], size)
    time_mesh, dose_mesh = np.meshgrid(times, doses, indexing="ij")
    known = _unit(points["dose_um"], points["time_h"], grid)
    target = _unit(dose_mesh.ravel(), time_mesh.ravel(), grid)
    values = RBFInterpolator(known, mean.ravel(), kernel=KERNEL)(target).reshape(size, size)
    supported = np.zeros((size, size), dtype=bool)
    if conditions is not None:
        supported = conditions.near(dose_mesh, time_mesh)
    return Surface(
        name,
        grid.drug,
        doses,
        times,
        values,
        supported,
        points,
        _marks(conditions, drug_key, grid),
        conditions is not None,
        _left_out_error(known, mean.ravel()),
    )


def _unit(dose: Any, time: Any, grid: DoseTimeGrid) -> np.ndarray:
    """Log dose and log time, each scaled so that the grid spans 0 to 1."""
    columns = []
    for values, levels in ((dose, grid.doses), (time, grid.times)):
        low, high = np.log(levels[0]), np.log(levels[-1])
        columns.append((np.log(np.asarray(values, dtype=float)) - low) / (high - low))
    return np.column_stack(columns)


def _left_out_error(points: np.ndarray, values: np.ndarray) -> float:
    """Error of interpolating each point but the corners, which would be extrapolated."""
    corner = np.isin(points, (0.0, 1.0)).all(axis=1)
    errors = []
    for i in np.flatnonzero(~corner):
        rest = np.arange(len(points)) != i
        found = RBFInterpolator(points[rest], values[rest], kernel=KERNEL)(points[i : i + 1])
        errors.append(float(found[0] - values[i]))
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else float("nan")


def _marks(
    conditions: TrainingConditions | None, drug_key: str, grid: DoseTimeGrid
) -> pd.DataFrame:
    """Training conditions within the range of the grid, those of the drug itself marked."""
    if conditions is None:
        columns = ["dose_um", "time_h", "rows", "drugs", "cells", "this_drug"]
        return pd.DataFrame(columns=columns)
    table = conditions.trained()
    own = conditions.trained(drug_key) if drug_key else table.iloc[:0]
    mine = set(zip(own["dose_um"], own["time_h"], strict=True))
    slack = 1.001
    inside = table["dose_um"].between(grid.doses[0] / slack, grid.doses[-1] * slack)
    inside &= table["time_h"].between(grid.times[0] / slack, grid.times[-1] * slack)
    table = table[inside].reset_index(drop=True)
    keys = zip(table["dose_um"], table["time_h"], strict=True)
    return table.assign(this_drug=[key in mine for key in keys])


def contour_lines(
    x: np.ndarray, y: np.ndarray, values: np.ndarray, levels: Sequence[float]
) -> pd.DataFrame:
    """Segments of the lines of equal value, by cutting each grid cell into two triangles.

    Parameters
    ----------
    x : ndarray, shape (D,)
    y : ndarray, shape (T,)
    values : ndarray, shape (T, D)
    levels : sequence of float

    Returns
    -------
    DataFrame
        Columns ``level``, ``x``, ``y``, ``x2``, ``y2``, one row a segment.
    """
    grid_y, grid_x = np.meshgrid(y, x, indexing="ij")
    nodes = np.stack([grid_x, grid_y, values], axis=-1)
    a, b, c, d = nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]
    triangles = np.concatenate(
        [np.stack(t, axis=2).reshape(-1, 3, 3) for t in ((a, b, c), (a, c, d))]
    )
    found = []
    for level in levels:
        above = triangles[..., 2] >= level
        for lone in range(3):
            others = [i for i in range(3) if i != lone]
            cut = (above[:, lone] != above[:, others[0]]) & (above[:, lone] != above[:, others[1]])
            ends = [_between(triangles[cut], lone, other, level) for other in others]
            found.append(np.column_stack([np.full(int(cut.sum()), level), *ends]))
    return pd.DataFrame(np.concatenate(found), columns=["level", "x", "y", "x2", "y2"])


def _between(triangles: np.ndarray, i: int, j: int, level: float) -> np.ndarray:
    """Points on the edges i to j where the value is `level`, shape (n, 2)."""
    start, end = triangles[:, i], triangles[:, j]
    share = (level - start[:, 2]) / (end[:, 2] - start[:, 2])
    point: np.ndarray = start[:, :2] + share[:, None] * (end - start)[:, :2]
    return point
