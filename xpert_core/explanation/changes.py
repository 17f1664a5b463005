"""Genes that change under treatment in two groups of patients, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from xpert_core import __version__
from xpert_core.cohorts.paired import PairedProfiles
from xpert_core.explanation.differential import (
    N_COUNTED,
    STATISTICS,
    BalancedCount,
    Differential,
    Test,
    Thresholds,
    balanced_changes,
    change_table,
    compare_groups,
    moderated_test,
    welch_test,
)
from xpert_core.explanation.groups import Groups, average_by_patient
from xpert_core.explanation.progress import Steps
from xpert_core.explanation.statistics import Relabellings, relabellings
from xpert_core.prediction.predictor import Cancelled, Progress

#: Variance of the smaller group over that of the larger from which variances are not pooled.
UNEQUAL = 1.25


@dataclass(frozen=True)
class GroupChanges:
    """Measured change under treatment in A and in B.

    Attributes
    ----------
    groups : Groups
    in_a, in_b : DataFrame
        As `differential.change_table`: the moderated paired t of each group.
    difference : Differential
        Change in B against change in A, by the moderated t, or by Welch's where the smaller group
        varies more. ``mean_a`` and ``mean_b`` are mean changes and ``log2_ratio`` is their
        difference, B minus A.
    balanced : tuple of BalancedCount
        Genes that change in A and in B at equal numbers of patients: the only counts that may be
        set side by side.
    spread : float
        Variance of the change in A over that in B, median over genes.
    passing_by : dict of str to int
        Genes whose change differs between the groups within the thresholds, by each test.
    provenance : dict
    """

    groups: Groups
    in_a: pd.DataFrame
    in_b: pd.DataFrame
    difference: Differential
    balanced: tuple[BalancedCount, BalancedCount]
    spread: float
    passing_by: dict[str, int]
    provenance: dict[str, Any]

    @property
    def sentence(self) -> str:
        """Counts in words, all patients and balanced."""
        a, b = self.balanced
        return (
            f"{int(self.in_a['passes'].sum())} genes change in A and "
            f"{int(self.in_b['passes'].sum())} in B with all patients; at equal numbers of "
            f"patients, A: {a}, B: {b}. {len(self.difference.passing)} genes change differently "
            f"in the two groups by {self.difference.statistic}."
        )

    @property
    def smaller_varies_more(self) -> bool:
        """Whether pooling the variances would make p too small."""
        return _smaller_varies_more(self.spread, self.groups.n_a, self.groups.n_b)


def compare_changes(
    pairs: PairedProfiles,
    groups: Groups,
    thresholds: Thresholds | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> GroupChanges:
    """Test the change of each gene in both groups, and its difference.

    Each patient is its own block: the test is on the difference after minus before. Several pairs
    of one patient are averaged first. The moderated t pools the variances of the groups; where the
    smaller group varies more its p would be too small, and Welch's t decides.

    Parameters
    ----------
    pairs : PairedProfiles
    groups : Groups
        Of `pairs.pairs`.
    thresholds : Thresholds, optional
    seed : int
        Of permutations and draws.
    progress, cancelled : callable, optional

    Raises
    ------
    PredictionCancelled
        If `cancelled` said so.
    """
    thresholds = thresholds or Thresholds()
    steps = Steps(3, progress, cancelled)
    genes = pairs.panel.symbols
    change = average_by_patient(pairs.x_deg[groups.rows].astype(np.float64), groups.patients)
    in_b = groups.patient_in_b
    labels = relabellings(in_b, N_COUNTED, seed)
    spread = _spread(change, in_b)
    steps.begin("Change in each group")
    balanced = balanced_changes(change, in_b, thresholds, seed=seed)
    steps.end()
    difference = compare_groups(
        change,
        in_b,
        genes,
        measure=f"change under treatment ({pairs.unit})",
        test=deciding_test(change, in_b),
        labels=labels,
        thresholds=thresholds,
        steps=steps,
    )
    steps.end()
    steps.begin("Spread of the groups")
    found = {name: test(change, in_b) for test, name in STATISTICS.items()}
    return GroupChanges(
        groups,
        change_table(change[~in_b], genes, thresholds),
        change_table(change[in_b], genes, thresholds),
        difference,
        balanced,
        spread,
        {name: int(thresholds.passes(one.difference, one.p).sum()) for name, one in found.items()},
        _provenance(pairs, groups, thresholds, labels, seed)
        | {"test": difference.statistic, "variance_a_over_b": spread},
    )


def deciding_test(change: np.ndarray, in_b: np.ndarray) -> Test:
    """Welch's test where the smaller group varies more, else the moderated t.

    Parameters
    ----------
    change : ndarray, shape (N, G)
    in_b : ndarray of bool, shape (N,)
    """
    n_b = int(in_b.sum())
    unequal = _smaller_varies_more(_spread(change, in_b), len(in_b) - n_b, n_b)
    return welch_test if unequal else moderated_test


def _spread(change: np.ndarray, in_b: np.ndarray) -> float:
    """Variance in A over variance in B, median over the genes that vary in both."""
    a, b = (pd.DataFrame(change[rows]).var().to_numpy() for rows in (~in_b, in_b))
    known = (a > 0) & (b > 0)
    return float(np.median(a[known] / b[known])) if known.any() else 1.0


def _smaller_varies_more(spread: float, n_a: int, n_b: int) -> bool:
    """Whether the smaller group's variance is so much the larger one; `spread` is A over B."""
    if n_a == n_b:
        return False
    return spread > UNEQUAL if n_a < n_b else spread * UNEQUAL < 1


def _provenance(
    pairs: PairedProfiles, groups: Groups, thresholds: Thresholds, labels: Relabellings, seed: int
) -> dict[str, Any]:
    return {
        "xpert_version": __version__,
        "cohort": pairs.name,
        "input_sha256": pairs.input_sha256,
        "unit": pairs.unit,
        "scale_transform": pairs.scale_transform,
        "panel": pairs.panel.name,
        "column": groups.column,
        "group_a": groups.label_a,
        "group_b": groups.label_b,
        "groups": groups.sentence,
        "pairs": len(groups.rows),
        "q": thresholds.q,
        "log2_ratio": thresholds.log2_ratio,
        "permutations": len(labels),
        "all_relabellings": labels.complete,
        "permutation_seed": seed,
        "notes": list(pairs.notes),
    }
