"""Agreement of scores over runs: seeds, folds, or cells (paper, Extended Data Fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from xpert_core.errors import ExplanationError


@dataclass(frozen=True)
class Stability:
    """How far runs agree on the scores of the same items.

    Attributes
    ----------
    mean_cosine : float
        Mean cosine similarity over all pairs of runs. Near one for any positive scores that are
        nearly equal, so read it beside `mean_spearman`.
    mean_cv : float
        Mean over items of standard deviation (n - 1) / mean, over runs.
    mean_spearman : float
        Mean rank correlation over all pairs of runs: zero when the order of items is chance.
    items : DataFrame
        Index the items, columns ``mean``, ``sd``, ``cv``.
    pairs : DataFrame
        One row a pair of runs: ``first``, ``second``, ``cosine``, ``spearman``.
    """

    mean_cosine: float
    mean_cv: float
    mean_spearman: float
    items: pd.DataFrame
    pairs: pd.DataFrame


def stability(
    scores: Sequence[np.ndarray] | np.ndarray, runs: Sequence[str], items: Sequence[str]
) -> Stability:
    """Compare the scores of several runs.

    Parameters
    ----------
    scores : sequence of ndarray of float, shape (n_runs, n_items)
    runs, items : sequence of str
        Their names.

    Raises
    ------
    ExplanationError
        If there are fewer than two runs or two items.
    """
    if len(runs) < 2 or len(items) < 2:
        raise ExplanationError(
            f"Stability needs two runs and two items at least; there are {len(runs)} and "
            f"{len(items)}.",
            fix="Give several checkpoints (seeds or folds), or several samples.",
        )
    values = np.asarray(scores, dtype=np.float64)
    mean, sd = values.mean(axis=0), values.std(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cv = np.where(mean != 0, sd / mean, np.nan)
    first, second = np.triu_indices(len(values), k=1)
    cosine = _cosines(values)[first, second]
    ranks = np.apply_along_axis(rankdata, 1, values)
    spearman = _cosines(ranks - ranks.mean(axis=1, keepdims=True))[first, second]
    pairs = pd.DataFrame(
        {
            "first": [runs[i] for i in first],
            "second": [runs[i] for i in second],
            "cosine": cosine,
            "spearman": spearman,
        }
    )
    table = pd.DataFrame({"mean": mean, "sd": sd, "cv": cv}, index=pd.Index(items, name="item"))
    return Stability(
        float(cosine.mean()),
        float(np.nanmean(cv)) if np.isfinite(cv).any() else float("nan"),
        float(np.nanmean(spearman)) if np.isfinite(spearman).any() else float("nan"),
        table,
        pairs,
    )


def _cosines(rows: np.ndarray) -> np.ndarray:
    """Cosine similarity of each pair of rows; NaN where a row is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T
